// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package install tests the manifests with the tools that users install them with, on a real API server.
package install
