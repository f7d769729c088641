// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package usage holds the reports that replicas of the verifier send to the manager: how API keys were used, and which keys
// and credentials the replica knows. A Ledger merges the reports of all replicas into statuses.
//
// It is pure, and imports only the API types, apimachinery and the standard library.
package usage
