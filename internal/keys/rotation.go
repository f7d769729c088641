// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// defaultOverlap is the default of spec.rotation.overlap.
const defaultOverlap = 24 * time.Hour

// schedule holds a key's rotation, with all defaults filled in.
type schedule struct {
	// A key that is rotated on request only has no interval.
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

// duration parses a validated duration.
func duration(d v1alpha1.Duration) time.Duration {
	parsed, _ := time.ParseDuration(string(d))
	return parsed
}

// revokedByTime reports whether a credential is revoked because it was issued before spec.rotation.revokeBefore, once
// that instant has passed.
func (a *assessment) revokedByTime(c *v1alpha1.Credential) bool {
	before := a.schedule.revokeBefore
	return before != nil && !a.Now.Before(before.Time) && c.IssuedAt.Before(before)
}

// nextRotation returns when the next credential is due according to a status: one interval after the current one was
// issued, or when a rotation is requested, or nil if never. A time in the past means that one rotation is due now,
// however many intervals have passed.
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

// rotationDue reports whether the next credential is due now according to a status: because of the interval, because of a
// request, or because the current one is revoked.
func (a *assessment) rotationDue(s *v1alpha1.APIKeyStatus) bool {
	if is := current(s); is != nil && a.revokedByTime(is) {
		return true
	}
	due := a.nextRotation(s)
	return due != nil && !a.Now.Before(*due)
}
