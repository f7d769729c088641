// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Candidate holds a key that an export may hold, and what decides about it. The objects must not change while the Export
// is in use.
type Candidate struct {
	// Key holds the APIKey.
	Key *v1alpha1.APIKey
	// Account holds the account of the key as its keys use it, see keys.WithHeldExternalID. It is nil if the account
	// does not exist.
	Account *v1alpha1.Account
	// NamespaceLabels holds the labels of the key's namespace. It is nil if the namespace is not known.
	NamespaceLabels map[string]string
	// Shadowed lists the digests of the key's credentials that were issued to another key first, see
	// keys.SharedDigests.
	Shadowed []string
}

// Evaluation holds what an export may hold of a key.
type Evaluation struct {
	// Credentials holds the credentials that verifiers accept now from some address and that may be exported.
	Credentials []v1alpha1.Credential
	// Withheld holds the reason for which accepted credentials of a selected key are withheld, or "". It is a reason of
	// status.withheld.
	Withheld string
	// Next holds the time at which the evaluation changes although no object does. The zero time means never.
	Next time.Time
}

// Selects reports whether the spec selects a key, whether or not verifiers accept it.
func (x *Export) Selects(c Candidate) bool { return false }

// Evaluate returns what the export may hold of a key at a time.
func (x *Export) Evaluate(c Candidate, now time.Time) Evaluation { return Evaluation{} }
