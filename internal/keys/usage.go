// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import "time"

// UsageReport is what one replica of the verifier tells the manager: GET /v1/usage, as JSON.
type UsageReport struct {
	// Replica names the process that answers, anew with each start of it.
	Replica string `json:"replica"`
	// Synced is whether the replica gives verdicts. Before, it refuses every key.
	Synced bool `json:"synced"`
	// KeysVersion is the newest resourceVersion of APIKeys that the replica enforces.
	KeysVersion string `json:"keysVersion"`
	// AccountsVersion is the newest resourceVersion of Accounts that the replica enforces.
	AccountsVersion string `json:"accountsVersion"`
	// Keys are the keys in use since the time that was asked for (?since=, RFC 3339), or all that were ever used.
	Keys []KeyUsage `json:"keys,omitempty"`
}

// KeyUsage is how one key was used at one replica since that replica started.
type KeyUsage struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// UID tells the key from another one of the same name before it.
	UID string `json:"uid"`
	// Credentials are those that were presented.
	Credentials []CredentialUsage `json:"credentials"`
}

// CredentialUsage is how one credential was used at one replica since that replica started.
type CredentialUsage struct {
	// ID is the credential's, as in status.credentials.
	ID string `json:"id"`
	// LastUsed is when it was last accepted, to the minute, by the replica's clock; absent: never.
	LastUsed *time.Time `json:"lastUsed,omitempty"`
	// LastRefused is when it was last refused, to the minute, by the replica's clock; absent: never.
	LastRefused *time.Time `json:"lastRefused,omitempty"`
	// Counts are how often each verdict was given.
	Counts map[string]uint64 `json:"counts"`
}
