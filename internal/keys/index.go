// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import "github.com/apikey-manager/apikey-manager/api/v1alpha1"

// Names of the indexes over APIKeys that a cache must maintain.
const (
	// IndexAccount finds the keys of an account by its name.
	IndexAccount = "spec.account"
	// IndexLabel finds the keys of an account with a label, by AccountLabel.
	IndexLabel = "account/label"
	// IndexDigest finds the keys that have, or have revoked, a credential by its digest.
	IndexDigest = "status/digest"
)

// Indexes holds the function of each index that returns the values of a key. A key without values is not in the index.
var Indexes = map[string]func(*v1alpha1.APIKey) []string{
	IndexAccount: func(k *v1alpha1.APIKey) []string { return nonEmpty(k.Spec.Account) },
	IndexLabel:   func(k *v1alpha1.APIKey) []string { return nonEmpty(AccountLabel(k)) },
	IndexDigest:  KeyDigests,
}

func nonEmpty(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

// AccountLabel returns the value of a key in IndexLabel: its account and the normalized form of its label, or "" if the
// key has no label.
func AccountLabel(k *v1alpha1.APIKey) string {
	if k.Spec.Label == "" {
		return ""
	}
	return k.Spec.Account + "/" + LabelForm(k.Spec.Label)
}

// SlotLabel returns the value in IndexLabel of the keys that request the label in a slot of an account, or "" if there is no
// label, or the account allows the same label on several keys.
func SlotLabel(a *v1alpha1.Account, s *v1alpha1.Slot) string {
	if s.Label == "" || a.Spec.LabelPolicy == v1alpha1.LabelShared {
		return ""
	}
	return a.Name + "/" + LabelForm(s.Label)
}
