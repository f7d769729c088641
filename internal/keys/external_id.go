// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// IndexExternalID finds the Accounts that declare an external ID.
const IndexExternalID = "spec.externalID"

// AccountIndexes holds the function of each index over Accounts that returns the values of an account. An account
// without values is not in the index.
var AccountIndexes = map[string]func(*v1alpha1.Account) []string{
	IndexExternalID: func(a *v1alpha1.Account) []string { return nonEmpty(a.Spec.ExternalID) },
}

// ExternalIDHolder returns the other account that holds the external ID of an account: the oldest of those that declare
// it. It returns nil if the account itself holds the ID or declares none.
func ExternalIDHolder(a *v1alpha1.Account, declaring []*v1alpha1.Account) *v1alpha1.Account {
	if a.Spec.ExternalID == "" {
		return nil
	}
	holder := a
	for _, other := range declaring {
		if other.Name != a.Name && other.Spec.ExternalID == a.Spec.ExternalID && compareAccountAge(other, holder) < 0 {
			holder = other
		}
	}
	if holder == a {
		return nil
	}
	return holder
}

// WithHeldExternalID returns an account as its keys use it: without an external ID that an older account holds, so that
// the ID is neither rendered into Secrets nor used elsewhere.
func WithHeldExternalID(a *v1alpha1.Account, declaring []*v1alpha1.Account) *v1alpha1.Account {
	if ExternalIDHolder(a, declaring) == nil {
		return a
	}
	a = a.DeepCopy()
	a.Spec.ExternalID = ""
	return a
}

// compareAccountAge orders accounts by creation time, then UID, the older first. An account that is still being created
// has no UID and counts as the youngest.
func compareAccountAge(a, b *v1alpha1.Account) int {
	if a.UID == "" || b.UID == "" {
		return cmp.Compare(len(b.UID), len(a.UID))
	}
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.UID, b.UID))
}
