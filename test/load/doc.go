// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command load measures the manager under load, beside a bare client that makes the same writes, in one run on one
// control plane: `make bench`. docs/performance.md says how, and what came of it.
//
// Phases alternate: a manager issues keys that the bench creates; then, with no manager running, a bare client makes the
// writes that the manager made, as many of each kind and of the same size. Noise of the machine hits both, so it is the
// ratio of the two that says something, and the medians over several rounds.
package main
