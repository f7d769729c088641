// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

const (
	// initialStatusGracePeriod is how long a new key may stay without a status while the manager is at it. Describing it as Pending at once
	// would cost every key a second status write, and most of all when thousands come together.
	initialStatusGracePeriod = 30 * time.Second
	// admissionRecheckInterval is how often to look again at a key whose account has yet to speak, should the account fail to wake it.
	admissionRecheckInterval = 5 * time.Second
)

// assessment is how a key stands in its account: the part of the judgement that Decide and Describe share.
type assessment struct {
	// violation is why the key is not accepted; nil: it is, or it is not known yet.
	violation *Violation
	// admissionPending means that the account has yet to speak: to exist, to grant a slot, to record a label.
	admissionPending bool
	// desiredState is the state the key would be in if accepted: Active, Inactive, Expired or Revoked.
	desiredState v1alpha1.ObservedState
	// mayIssue means that the key may get a credential.
	mayIssue bool
}

// suspended reports whether the account is suspended, and nothing else is wrong with the key that would be found before that.
func (s assessment) suspended() bool {
	return s.violation != nil && s.violation.Reason == v1alpha1.ReasonAccountSuspended
}

func (f *Facts) assess() assessment {
	s := assessment{desiredState: f.desiredState(), violation: CheckPolicy(*f)}
	if s.violation != nil {
		return s
	}
	if f.Account == nil {
		s.admissionPending = true
		return s
	}
	slot := f.slot()
	_, unlimited := f.Settings.Limit(f.Account)
	switch {
	case policyUnrecorded(f.Account):
		s.admissionPending = true
	case f.aboveLimit():
		s.violation = f.limitViolation()
	case unlimited, slot != nil && f.slotSatisfies(slot, s.desiredState):
		s.mayIssue = true
	case slot != nil: // a grant or a label is due
		s.admissionPending = true
	case s.desiredState != v1alpha1.StateActive && countsUsableOnly(f.Account): // needs no slot
	case RetainsSlot(f.Key, f.Account): // a record is due
		s.admissionPending = true
	case f.limitReached():
		s.violation = f.limitViolation()
	default:
		s.admissionPending = true
	}
	return s
}

// desiredState is the state the spec and the time ask for. What a person says comes before what the clock says.
func (f *Facts) desiredState() v1alpha1.ObservedState {
	expiration, err := f.expiration()
	switch {
	case f.Key.Spec.State == v1alpha1.KeyStateRevoked:
		return v1alpha1.StateRevoked
	case f.Key.Spec.State == v1alpha1.KeyStateInactive:
		return v1alpha1.StateInactive
	case err == nil && expiration != nil && !f.Now.Before(*expiration):
		return v1alpha1.StateExpired
	}
	return v1alpha1.StateActive
}

// slot is the key's slot in the account's record; nil: it has none.
func (f *Facts) slot() *v1alpha1.Slot {
	for i := range f.Account.Status.Slots {
		if f.Account.Status.Slots[i].UID == string(f.Key.UID) {
			return &f.Account.Status.Slots[i]
		}
	}
	return nil
}

// slotSatisfies is whether a slot lets the key be what it wants to be: under a grant that it did not give back, and with its
// label recorded.
func (f *Facts) slotSatisfies(slot *v1alpha1.Slot, wants v1alpha1.ObservedState) bool {
	if grantReleased(f.Key, slot) && wants == v1alpha1.StateActive {
		return false
	}
	return f.Key.Spec.Label == slot.Label || f.Account.Spec.LabelPolicy == v1alpha1.LabelShared
}

// grantReleased is whether a key gave a slot's grant back. A stale record may still show a grant before the last that was
// given back: that one is gone too.
func grantReleased(k *v1alpha1.APIKey, slot *v1alpha1.Slot) bool {
	return !isLaterGrant(slot.Grant, k.Status.ReleasedGrant)
}

// isLaterGrant reports whether grant a was made after grant b. Grants are ordered like resourceVersions. An empty one comes
// before all others.
func isLaterGrant(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	if err != nil {
		return a != "" && b == ""
	}
	return order > 0
}

func (f *Facts) limitReached() bool {
	limit, unlimited := f.Settings.Limit(f.Account)
	taken := 0
	for _, s := range f.Account.Status.Slots {
		if !isPredecessor(s, f.Key) {
			taken++
		}
	}
	return !unlimited && taken >= limit
}

func (f *Facts) limitViolation() *Violation {
	limit, _ := f.Settings.Limit(f.Account)
	return violationf(v1alpha1.ReasonLimitReached, "Account %s has no free slot of its %d: delete a key, or raise spec.limits.maxKeys of the account", f.Account.Name, limit)
}
