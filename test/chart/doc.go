// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package chart tests the Helm chart with helm itself: what it renders, and on a real API server what an installation, an upgrade
// and an uninstall do.
package chart
