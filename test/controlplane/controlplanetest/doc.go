// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package controlplanetest has the helpers that tests on a real control plane share: to start one or to share it, to create and
// change objects, to ask verifiers, and to wait.
package controlplanetest
