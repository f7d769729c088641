// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// defaultOverlap is how long the previous credential stays valid unless the spec says otherwise.
const defaultOverlap = 24 * time.Hour

// schedule is a key's rotation, with nothing left to default.
type schedule struct {
	// interval is zero for a key that is rotated on request only.
	interval     time.Duration
	overlap      time.Duration
	requestedAt  *metav1.Time
	revokeBefore *metav1.Time
}

// schedule merges the key's rotation with its account's defaults. The overlap is never longer than the interval.
func (f *Facts) schedule() schedule {
	var s schedule
	overlap := v1alpha1.Duration("")
	if a := f.Account; a != nil && a.Spec.KeyDefaults != nil && a.Spec.KeyDefaults.Rotation != nil {
		s.interval, overlap = duration(a.Spec.KeyDefaults.Rotation.Interval), a.Spec.KeyDefaults.Rotation.Overlap
	}
	if r := f.Key.Spec.Rotation; r != nil {
		if r.Interval != "" {
			s.interval = duration(r.Interval)
		}
		overlap = cmp.Or(r.Overlap, overlap)
		s.requestedAt, s.revokeBefore = instant(r.RequestedAt), instant(r.RevokeBefore)
	}
	s.overlap = defaultOverlap
	if overlap != "" {
		s.overlap = duration(overlap)
	}
	if s.interval > 0 {
		s.overlap = min(s.overlap, s.interval)
	}
	return s
}

// duration reads a duration that validation let pass.
func duration(d v1alpha1.Duration) time.Duration {
	parsed, _ := time.ParseDuration(string(d))
	return parsed
}

// revokedByTime is whether a credential was issued before spec.rotation.revokeBefore, once that instant has come.
func (a *assessment) revokedByTime(c *v1alpha1.Credential) bool {
	before := a.schedule.revokeBefore
	return before != nil && !a.Now.Before(before.Time) && c.IssuedAt.Before(before)
}

// nextRotation returns when the next credential is due, according to a status: an interval after the current one was issued,
// or when a request says; nil: never. A time in the past means now, and once, however many intervals have passed.
func (a *assessment) nextRotation(s *v1alpha1.APIKeyStatus) *time.Time {
	is := current(s)
	if is == nil || a.desiredState != v1alpha1.StateActive {
		return nil
	}
	var due *time.Time
	if interval := a.schedule.interval; interval > 0 {
		t := is.IssuedAt.Add(interval).UTC()
		due = &t
	}
	if r := a.pendingRequest(s); r != nil && (due == nil || r.Time.Before(*due)) {
		t := r.UTC()
		due = &t
	}
	return due
}

// rotationDue reports whether the next credential is due now: by time, by a request, or since the current one is dead.
func (a *assessment) rotationDue() bool {
	if is := current(&a.Key.Status); is != nil && a.revokedByTime(is) {
		return true
	}
	due := a.nextRotation(&a.Key.Status)
	return due != nil && !a.Now.Before(*due)
}
