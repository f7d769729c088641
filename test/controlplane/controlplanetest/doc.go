// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package controlplanetest is what tests on a real control plane have in common: to start one, or to share one, to reach
// it, and to wait for what it does.
package controlplanetest
