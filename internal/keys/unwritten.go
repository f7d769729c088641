// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// This file handles Accounts that the manager created. Keys are issued under such an account before a user has written a
// policy for it. Those keys are not recorded as accepted, so that the policy applies to them once a user writes it. To keys
// that were accepted under a written policy, later changes apply as documented for each field.

// specUnwritten reports whether the manager created the account and no user has written its spec since.
func specUnwritten(a *v1alpha1.Account) bool {
	return createdByManager(a) && a.Generation <= 1
}

func createdByManager(a *v1alpha1.Account) bool {
	return a.Annotations[v1alpha1.CreatedByAnnotation] == v1alpha1.CreatedByManager
}

// policyUnrecorded reports whether a user has written the spec of an account that the manager created, and the order of
// its slots has not been adapted to the written limit yet.
func policyUnrecorded(a *v1alpha1.Account) bool {
	return createdByManager(a) && a.Generation > 1 && a.Status.ObservedGeneration <= 1
}

// acceptedUnderPolicy reports whether a key was accepted while the spec of its account was written by a user. The
// status records this permanently.
func acceptedUnderPolicy(k *v1alpha1.APIKey) bool { return k.Status.IPRestriction != "" }

// aboveLimit reports whether the key holds a slot above the account's limit and was never accepted under a written
// policy. A slot before it in the record is dropped only when its key no longer uses it, so that never more keys than
// the limit are accepted because of their position.
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

// losesSlot reports whether a violation takes the slot from a key that was never accepted under a written policy.
// Otherwise the key could keep a slot from keys that comply with the policy.
func (f *Facts) losesSlot(refusal *Violation) bool {
	if refusal == nil || acceptedUnderPolicy(f.Key) || specUnwritten(f.Account) {
		return false
	}
	switch refusal.Reason {
	case v1alpha1.ReasonLimitReached, v1alpha1.ReasonNamespaceNotAllowed, v1alpha1.ReasonScopeNotAllowed, v1alpha1.ReasonRateLimitNotAllowed,
		v1alpha1.ReasonIPWhitelistRequired, v1alpha1.ReasonExpirationRequired, v1alpha1.ReasonExpirationForbidden,
		v1alpha1.ReasonLifetimeTooLong, v1alpha1.ReasonImportNotAllowed:
		return true
	}
	return false
}

// orderSlots sorts the slots, the oldest keys first, when a user first writes the spec of an account that the manager
// created. The slots above the limit are lost in that order. No key has been accepted because of its position before
// that.
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

// accountCreationTime returns when the manager creates an account that does not exist. The delay allows for a manifest
// in which the Account follows the key.
func (f *Facts) accountCreationTime() time.Time {
	return f.created().Add(f.Settings.AccountCreationDelay)
}

// accountCreationPending reports whether the account does not exist and it is too early for the manager to create it.
func (f *Facts) accountCreationPending() bool {
	return f.Account == nil && f.Now.Before(f.accountCreationTime())
}

// AccountRecordDiffers reports whether an account changed, other than in its spec, in a way that concerns all of its
// keys: whether its spec is unwritten, whether its slots are in order, or whether its external ID is held by another
// account.
func AccountRecordDiffers(was, is *v1alpha1.Account) bool {
	taken := func(a *v1alpha1.Account) bool {
		ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Reason == v1alpha1.ReasonExternalIDTaken
	}
	return specUnwritten(was) != specUnwritten(is) || policyUnrecorded(was) != policyUnrecorded(is) || taken(was) != taken(is)
}
