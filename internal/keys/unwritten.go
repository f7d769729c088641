// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// This file holds what is special about Accounts that the manager created. Keys are issued under such an account before
// anybody has written a policy for it. Those keys are not recorded as accepted, so that the policy binds them when a user
// writes it; keys accepted under a written policy are bound by later changes only as each field says.

// specUnwritten reports whether the manager created the account and no user has written its spec since.
func specUnwritten(a *v1alpha1.Account) bool {
	return createdByManager(a) && a.Generation <= 1
}

func createdByManager(a *v1alpha1.Account) bool {
	return a.Annotations[v1alpha1.CreatedByAnnotation] == v1alpha1.CreatedByManager
}

// policyUnrecorded reports whether a user has written the spec of an account that the manager created, and its record of
// slots was not yet put in order for the written limit.
func policyUnrecorded(a *v1alpha1.Account) bool {
	return createdByManager(a) && a.Generation > 1 && a.Status.ObservedGeneration <= 1
}

// acceptedUnderPolicy reports whether a key was accepted while the spec of its account was written. The status records it
// once, and never takes it back.
func acceptedUnderPolicy(k *v1alpha1.APIKey) bool { return k.Status.IPRestriction != "" }

// aboveLimit reports whether the key holds a slot above the account's limit and was never accepted under a written policy.
// Slots before it in the record go only when their keys have no more use of them, so that the keys accepted by their
// place are never more than the limit.
func (f *Facts) aboveLimit() bool {
	limit, unlimited := f.Settings.Limit(f.Account)
	if unlimited || acceptedUnderPolicy(f.Key) || specUnwritten(f.Account) {
		return false
	}
	for _, s := range f.Account.Status.Slots {
		switch {
		case s.UID == string(f.Key.UID):
			return limit <= 0
		case !isPredecessor(s, f.Key):
			limit--
		}
	}
	return false
}

// losesSlot reports whether a refusal takes the slot from a key that was never accepted under a written policy. It could
// keep keys within the policy from having a slot otherwise.
func (f *Facts) losesSlot(refusal *Violation) bool {
	if refusal == nil || acceptedUnderPolicy(f.Key) || specUnwritten(f.Account) {
		return false
	}
	switch refusal.Reason {
	case v1alpha1.ReasonLimitReached, v1alpha1.ReasonNamespaceNotAllowed, v1alpha1.ReasonScopeNotAllowed, v1alpha1.ReasonIPWhitelistRequired,
		v1alpha1.ReasonExpirationRequired, v1alpha1.ReasonExpirationForbidden, v1alpha1.ReasonLifetimeTooLong, v1alpha1.ReasonImportNotAllowed:
		return true
	}
	return false
}

// orderSlots puts the slots in the order in which they are kept when a user first writes the spec of an account that the
// manager created: the oldest keys first. No key has been accepted by its place before that.
func (a *admitter) orderSlots() {
	if !policyUnrecorded(a.account) {
		return
	}
	slices.SortStableFunc(a.account.Status.Slots, func(s, t v1alpha1.Slot) int {
		k, l := a.byUID[s.UID], a.byUID[t.UID]
		switch {
		case k != nil && l != nil:
			return compareAge(k, l)
		case k == nil && l != nil: // the key is deleted, or so new that the cache does not know it
			return 1
		case k != nil:
			return -1
		}
		return 0
	})
}

// accountCreationTime returns when the manager creates an account that does not exist: the key may be the first object of a file
// that has the Account as well.
func (f *Facts) accountCreationTime() time.Time {
	return f.created().Add(f.Settings.AccountCreationDelay)
}

// accountCreationPending reports whether the account does not exist and it is too early for the manager to create it.
func (f *Facts) accountCreationPending() bool {
	return f.Account == nil && f.Now.Before(f.accountCreationTime())
}

// AccountRecordDiffers reports whether an account changed beside its spec in a way that concerns all of its keys: the mark
// of an account that nobody has written came or went, their places in the record were put in order, or their external ID
// came to be, or is no longer, that of another account.
func AccountRecordDiffers(was, is *v1alpha1.Account) bool {
	taken := func(a *v1alpha1.Account) bool {
		ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Reason == v1alpha1.ReasonExternalIDTaken
	}
	return specUnwritten(was) != specUnwritten(is) || policyUnrecorded(was) != policyUnrecorded(is) || taken(was) != taken(is)
}
