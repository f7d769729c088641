// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// pendingRequest returns the instant of spec.rotation.requestedAt if a rotation is yet to be made for it, according to a
// status; nil: none is. Times are whole seconds, so a request of the second in which the current credential was issued may
// have come after that: it counts, unless the status says that the key was accepted with this spec. Then a manager has dealt
// with it, maybe one of a release that did not record which request it carried out.
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

// observedRequest reports whether a status says that the request of an instant was carried out.
func observedRequest(s *v1alpha1.APIKeyStatus, at *metav1.Time) bool {
	observed := instant(s.Rotation.ObservedRequestedAt)
	return observed != nil && observed.Equal(at)
}

// recordRequest records that a requested rotation was carried out. A request that is older than the current credential needs
// none; a credential that takes the current place now answers a request of the second in which it was issued.
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
