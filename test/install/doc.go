// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package install tests the installation of the manifests with kubectl on a real API server.
package install
