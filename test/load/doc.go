// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command load measures the manager under load, next to a bare client that makes the same writes on the same control plane:
// `make bench`. docs/performance.md describes the method and the results.
//
// Phases alternate: a manager issues the keys that the benchmark creates; then, while no manager runs, a bare client makes as many
// writes of each kind and of the same size. Noise of the machine affects both, so their ratio and the medians over several rounds
// are meaningful.
//
// The bare client runs with and without the watches of the manager: the API server needs processor time for each watch, and that
// time is not spent by the manager. With --rotations, the benchmark measures many rotations that are due at once instead.
//
// With --idle, it measures a manager and a verifier while nothing changes: their processor time, and their requests.
//
// With --export-keys, it measures KeyExports instead, next to a bare client that updates an object of the same size.
package main
