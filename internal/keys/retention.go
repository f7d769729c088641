// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// This file holds when the manager deletes a key. Deletion can't be undone, so every doubt keeps the key: it is deleted only
// if its status, which the deletion names as its precondition, says that its end was carried out, and since when.

// minRetention is the shortest retention that the schema admits.
const minRetention = time.Minute

// RetentionOver reports whether the manager is to delete a key, as its account's spec.retention asks for. The validating
// webhook goes by it as well, so it looks at nothing but the key, its account and the time.
func RetentionOver(f Facts) bool {
	end, ok := f.retentionEnd()
	return ok && !f.Now.Before(end) && !f.mayBeAcceptedStill()
}

// retentionEnd returns until when a key that is Expired or Revoked is kept; false: for as long as nothing else changes.
func (f *Facts) retentionEnd() (time.Time, bool) {
	if f.Account == nil || len(f.Account.Undecodable) > 0 || len(f.Key.Undecodable) > 0 || !f.Key.DeletionTimestamp.IsZero() {
		return time.Time{}, false
	}
	retention, ok := f.retention()
	if !ok || f.Settings.Deletion(f.Account) == v1alpha1.DeletionForbid || !f.endCarriedOut() {
		return time.Time{}, false
	}
	since, ok := endedSince(&f.Key.Status)
	return since.Add(retention), ok
}

// retention returns how long the account keeps keys that are in the state the key is in.
func (f *Facts) retention() (time.Duration, bool) {
	r, after := f.Account.Spec.Retention, v1alpha1.Duration("")
	switch {
	case r == nil:
	case f.Key.Status.State == v1alpha1.StateExpired:
		after = r.ExpiredAfter
	case f.Key.Status.State == v1alpha1.StateRevoked:
		after = r.RevokedAfter
	}
	d, err := time.ParseDuration(string(after))
	return d, err == nil && d >= minRetention
}

// endCarriedOut reports whether the key is still to be in the state that its status names, and whether the status says of
// the key as it is now that this has been carried out.
func (f *Facts) endCarriedOut() bool {
	s := &f.Key.Status
	ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	return f.desiredState() == s.State && ready != nil && ready.Status == metav1.ConditionTrue && ready.Reason == string(s.State) &&
		ready.ObservedGeneration == f.Key.Generation
}

// endedSince returns since when a key has been Expired or Revoked. The history tells: each change of the state appends to it,
// in the same write. The time of a condition does not: a key that was Inactive before had Valid=False already. An expired key
// has been so no longer than its expiration is past either, nor than it has been known to be: an expiration in the past,
// which may be a slip, takes effect when it is declared.
func endedSince(s *v1alpha1.APIKeyStatus) (time.Time, bool) {
	since, ok := stateSince(s)
	if s.State != v1alpha1.StateExpired || !ok {
		return since, ok
	}
	if s.ExpirationTime == nil {
		return time.Time{}, false
	}
	if s.ExpirationTime.After(since) {
		since = s.ExpirationTime.Time
	}
	return since, true
}

// stateSince returns when the state of a status was recorded in its history. If so much happened since that the entry was
// dropped, the oldest that is left is later.
func stateSince(s *v1alpha1.APIKeyStatus) (time.Time, bool) {
	for _, t := range slices.Backward(s.History) {
		if t.Reason == string(s.State) {
			return t.Time.Time, true
		}
	}
	if len(s.History) < maxHistory {
		return time.Time{}, false
	}
	return s.History[0].Time.Time, true
}

// mayBeAcceptedStill reports whether some verifier is not known to refuse a revoked key.
func (f *Facts) mayBeAcceptedStill() bool {
	if !f.Settings.Verifiers || f.Key.Status.State != v1alpha1.StateRevoked {
		return false
	}
	enforced := meta.FindStatusCondition(f.Key.Status.Conditions, v1alpha1.ConditionEnforced)
	return enforced == nil || enforced.Status == metav1.ConditionFalse
}

// deletion returns the step that deletes the key, if its retention is over and the facts agree with its status that there is
// nothing left to do for it.
func (a *assessment) deletion() []Step {
	if !RetentionOver(*a.Facts) {
		return nil
	}
	described := *a.Facts
	described.Key = a.Key.DeepCopy()
	described.Key.Status = Describe(*a.Facts)
	if !described.endCarriedOut() {
		return nil
	}
	return []Step{DeleteKey{Name: a.Key.Name}}
}

// retentionCheck returns when to look again at a key that is to be deleted; zero: never.
func (f *Facts) retentionCheck() time.Time {
	end, ok := f.retentionEnd()
	switch {
	case !ok:
		return time.Time{}
	case f.mayBeAcceptedStill() && !end.After(f.Now): // the write that says otherwise does not enqueue the key
		return f.Now.Add(conflictRecheckInterval)
	}
	return end
}

// RetentionEvent returns what is announced of a key whose deletion is under way.
func RetentionEvent(k *v1alpha1.APIKey) Event {
	return Event{
		Reason: v1alpha1.ReasonRetentionOver, Action: "Delete",
		Note: "Deleting the key: it has been " + string(k.Status.State) + " for as long as spec.retention of account " + k.Spec.Account + " keeps such keys",
	}
}
