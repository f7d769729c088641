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

// This file decides when the manager deletes a key. Deletion can't be undone, so a key is kept in case of doubt: it is
// deleted only if its status, which is a precondition of the deletion, says since when the key has been expired or revoked
// and that this was carried out.

// minRetention is the shortest retention period that the schema accepts.
const minRetention = time.Minute

// RetentionOver reports whether the manager should delete a key according to spec.retention of its account. The
// validating webhook uses it too, so it depends only on the key, its account and the time.
func RetentionOver(f Facts) bool {
	end, ok := f.retentionEnd()
	return ok && !f.Now.Before(end) && !f.mayBeAcceptedStill()
}

// retentionEnd returns the time until which a key that is Expired or Revoked is kept. It returns false if the key is
// kept until something else changes.
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

// retention returns how long the account keeps keys in the state of this key.
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

// endCarriedOut reports whether the desired state is still the state of the status, and condition Ready says, for the
// current generation, that it has been carried out.
func (f *Facts) endCarriedOut() bool {
	s := &f.Key.Status
	ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	return f.desiredState() == s.State && ready != nil && ready.Status == metav1.ConditionTrue && ready.Reason == string(s.State) &&
		ready.ObservedGeneration == f.Key.Generation
}

// endedSince returns since when a key has been Expired or Revoked, according to the history: each change of the state
// is recorded there in the same write. The transition time of a condition would not do: a key that was Inactive before
// already had Valid=False. For an expired key it is not before spec.expiration, and not before the expiration was
// declared: an expiration in the past, which may be a mistake, takes effect when it is declared.
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

// stateSince returns when the current state was recorded in the history. If that entry has been dropped from the
// history, it returns the later time of the oldest remaining entry.
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

// mayBeAcceptedStill reports whether a verifier may still accept a revoked key.
func (f *Facts) mayBeAcceptedStill() bool {
	if !f.Settings.Verifiers || f.Key.Status.State != v1alpha1.StateRevoked {
		return false
	}
	enforced := meta.FindStatusCondition(f.Key.Status.Conditions, v1alpha1.ConditionEnforced)
	return enforced == nil || enforced.Status == metav1.ConditionFalse
}

// deletion returns the step that deletes the key if its retention period has passed and the facts confirm that nothing
// else has to be done for it.
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

// retentionCheck returns when to reconcile a key again that will be deleted, or zero if it won't be.
func (f *Facts) retentionCheck() time.Time {
	end, ok := f.retentionEnd()
	switch {
	case !ok:
		return time.Time{}
	case f.mayBeAcceptedStill() && !end.After(f.Now): // the write that changes this does not enqueue the key
		return f.Now.Add(conflictRecheckInterval)
	}
	return end
}

// RetentionEvent returns the event for a key that is deleted because its retention period has passed.
func RetentionEvent(k *v1alpha1.APIKey) Event {
	return Event{
		Reason: v1alpha1.ReasonRetentionOver,
		Action: "Delete",
		Note: "Deleting the key: it has been " + string(
			k.Status.State,
		) + " for longer than spec.retention of account " + k.Spec.Account + " keeps such keys",
	}
}
