// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package cli holds the tests of the kubectl plugin on a real API server, with the manager, its webhook and a verifier.
package cli
