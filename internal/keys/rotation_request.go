// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// pendingRequest returns the instant of spec.rotation.requestedAt if the requested rotation is still to be carried out
// according to a status, or nil. Times are whole seconds, so a request in the second in which the current credential
// was issued may have been made after that. It is pending unless the status says that the key was accepted with this
// spec: then the request has been handled, perhaps by a release that did not record it.
func (a *assessment) pendingRequest(s *v1alpha1.APIKeyStatus) *metav1.Time {
	at, is := a.schedule.requestedAt, current(s)
	switch {
	case at == nil, is == nil:
		return nil
	case at.Before(&is.IssuedAt), observedRequest(s, at):
		return nil
	case is.IssuedAt.Before(at), LastStaged(s) != nil:
		return at
	}
	accepted := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionAccepted)
	if accepted != nil && accepted.Status == metav1.ConditionTrue && accepted.ObservedGeneration == a.Key.Generation {
		return nil
	}
	return at
}

// observedRequest reports whether a status records the request of an instant as carried out.
func observedRequest(s *v1alpha1.APIKeyStatus, at *metav1.Time) bool {
	observed := instant(s.Rotation.ObservedRequestedAt)
	return observed != nil && observed.Equal(at)
}

// recordRequest records that a requested rotation was carried out. A request older than the current credential needs no
// rotation. A credential that becomes current now also satisfies a request made in the second in which it was issued.
func (a *assessment) recordRequest(after *v1alpha1.APIKeyStatus) {
	at, was, is := a.schedule.requestedAt, current(&a.Key.Status), current(after)
	if at == nil || is == nil || is.IssuedAt.Before(at) {
		return
	}
	isNew := was == nil || was.SHA256 != is.SHA256
	settled := a.violation == nil && !a.admissionPending && a.desiredState == v1alpha1.StateActive && LastStaged(after) == nil
	if isNew || settled || at.Before(&is.IssuedAt) || observedRequest(after, at) {
		after.Rotation.ObservedRequestedAt = a.Key.Spec.Rotation.RequestedAt
	}
}

// IsRotationPending reports whether the spec of a key asks for a rotation that, according to the status, has not been carried out: by
// requestedAt, or by revokeBefore.
func IsRotationPending(k *v1alpha1.APIKey) bool {
	if k.Spec.Rotation == nil {
		return false
	}
	requestedAt, revokeBefore := instant(k.Spec.Rotation.RequestedAt), instant(k.Spec.Rotation.RevokeBefore)
	if LastStaged(&k.Status) != nil || requestedAt != nil && !observedRequest(&k.Status, requestedAt) {
		return true
	}
	return revokeBefore != nil && slices.ContainsFunc(k.Status.Credentials, func(c v1alpha1.Credential) bool {
		return c.IssuedAt.Before(revokeBefore)
	})
}
