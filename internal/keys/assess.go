// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

const (
	// initialStatusGracePeriod limits how long a new key may stay without a status while its Account is reconciled, since
	// the key was first reconciled. Setting Pending at once would cost every new key a second write.
	initialStatusGracePeriod = 30 * time.Second
	// admissionRecheckInterval separates two reconciles of a key that waits for its Account, in case no event of the
	// Account enqueues the key.
	admissionRecheckInterval = 5 * time.Second
)

// assessment holds what Decide, Describe and NextCheck derive from the facts, so that each of them derives it once.
type assessment struct {
	*Facts

	// desiredState holds the state that the spec and the time ask for: Active, Inactive, Expired or Revoked.
	desiredState v1alpha1.ObservedState
	// schedule holds the key's rotation, with its defaults filled in.
	schedule schedule
	// violation describes why the key is not accepted. It is nil if the key is accepted, or if that is not known yet.
	violation *Violation
	// admissionPending reports whether the Account has to be reconciled first: to exist, to grant a slot or to record a label.
	admissionPending bool
	// mayIssue reports whether the key may get a credential.
	mayIssue bool
	// needed lists the steps that the key needs, whether they are possible or not. why explains them.
	needed []Step
	why    string
}

// assess derives an assessment from the facts.
func assess(f *Facts) *assessment {
	a := &assessment{Facts: f, desiredState: f.desiredState(), schedule: f.schedule(), violation: CheckPolicy(*f)}
	if a.violation == nil {
		a.assessAdmission()
	}
	a.needed, a.why = a.neededSteps()
	return a
}

// assessAdmission finds out whether the account admits a key that violates no other policy.
func (a *assessment) assessAdmission() {
	if a.Account == nil {
		a.admissionPending = true
		return
	}
	slot := a.slot()
	_, unlimited := a.Settings.Limit(a.Account)
	switch {
	case policyUnrecorded(a.Account):
		a.admissionPending = true
	case a.aboveLimit():
		a.violation = a.limitViolation()
	case unlimited, slot != nil && a.slotSatisfies(slot, a.desiredState):
		a.mayIssue = true
	case slot != nil: // the slot needs another grant, or the key's label
		a.admissionPending = true
	case a.desiredState != v1alpha1.StateActive && countsUsableOnly(a.Account): // the key needs no slot
	case RetainsSlot(a.Key, a.Account): // the slot has to be recorded again, if the record has room
		a.mayIssue = recordFull(a.Account)
		a.admissionPending = !a.mayIssue
	case a.limitReached():
		a.violation = a.limitViolation()
	default:
		a.admissionPending = true
	}
}

// suspended reports whether the only violation of the key is that its account is suspended.
func (a *assessment) suspended() bool {
	return a.violation != nil && a.violation.Reason == v1alpha1.ReasonAccountSuspended
}

// desiredState returns the state that the spec and the time ask for. spec.state takes precedence over the expiration.
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

// slot returns the key's slot in the account's record, or nil if the key has none.
func (f *Facts) slot() *v1alpha1.Slot {
	for i := range f.Account.Status.Slots {
		if f.Account.Status.Slots[i].UID == string(f.Key.UID) {
			return &f.Account.Status.Slots[i]
		}
	}
	return nil
}

// slotSatisfies reports whether a slot lets the key reach its desired state: its grant was not released, and the key's
// label is recorded in it.
func (f *Facts) slotSatisfies(slot *v1alpha1.Slot, wants v1alpha1.ObservedState) bool {
	if grantReleased(f.Key, slot) && wants == v1alpha1.StateActive {
		return false
	}
	return f.Key.Spec.Label == slot.Label || f.Account.Spec.LabelPolicy == v1alpha1.LabelShared
}

// grantReleased reports whether a key has released the grant of a slot. A stale record may still show a grant older
// than the last released one, which counts as released too.
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
	return violationf(
		v1alpha1.ReasonLimitReached,
		"Account %s has reached its key limit of %d: delete a key, or raise spec.limits.maxKeys of the account",
		f.Account.Name,
		limit,
	)
}
