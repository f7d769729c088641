// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"strings"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// wasNotDecoded reports whether a field, such as spec.account, or the whole of its parent, could not be decoded.
func wasNotDecoded(undecodable []string, field string) bool {
	parent, _, _ := strings.Cut(field, ".")
	return slices.Contains(undecodable, field) || slices.Contains(undecodable, parent)
}

// MayBeIssued reports whether a key has, or had, a credential, as far as its status can be decoded.
func MayBeIssued(k *v1alpha1.APIKey) bool {
	return Issued(k) || wasNotDecoded(k.Undecodable, "status.credentials")
}

// HolderOf returns the account of a key: the one that its spec names or, if that can't be decoded, the one whose record
// has a slot for the key. It returns "" if the account can't be determined.
func HolderOf(k *v1alpha1.APIKey, accounts []v1alpha1.Account) string {
	if !wasNotDecoded(k.Undecodable, "spec.account") {
		return k.Spec.Account
	}
	for i := range accounts {
		for _, slot := range accounts[i].Status.Slots {
			if slot.UID == string(k.UID) {
				return accounts[i].Name
			}
		}
	}
	return ""
}

// NewlyUndecodable returns the fields of a spec that can't be decoded, and could be decoded before a change.
func NewlyUndecodable(was, is []string) []string {
	var list []string
	for _, field := range is {
		if strings.HasPrefix(field, "spec") && !wasNotDecoded(was, field) {
			list = append(list, field)
		}
	}
	return list
}

// checkDecoded refuses a key that can't be decoded, or whose account can't be decoded.
func checkDecoded(f Facts) *Violation {
	switch {
	case len(f.Key.Undecodable) > 0:
		return violationf(
			v1alpha1.ReasonInvalidSpec,
			"%s cannot be decoded: correct it to match the schema of this version",
			strings.Join(f.Key.Undecodable, ", "),
		)
	case f.Account != nil && len(f.Account.Undecodable) > 0:
		return violationf(v1alpha1.ReasonInvalidSpec, "%s of account %s cannot be decoded: correct it to match the schema of this version",
			strings.Join(f.Account.Undecodable, ", "), f.Account.Name)
	}
	return nil
}
