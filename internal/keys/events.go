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

// Event describes a change of a key that is reported once: as a Kubernetes Event and as an entry of status.history.
type Event struct {
	// Warning reports whether a user has to act.
	Warning bool
	// Reason holds a reason of api/v1alpha1.
	Reason string
	// Action states what the manager did, as a verb.
	Action string
	// Note holds the message, one sentence.
	Note string
}

// Events returns the changes of a key in one reconcile, in order: the difference between the status in the facts and
// the status after it.
func Events(f Facts, after v1alpha1.APIKeyStatus) []Event { return assess(&f).events(after) }

func (a *assessment) events(after v1alpha1.APIKeyStatus) []Event {
	var list []Event
	before := a.Key.Status
	if e, ok := a.issueEvent(before, after); ok {
		list = append(list, e)
	}
	if e, ok := stateEvent(before, after); ok {
		list = append(list, e)
	}
	for _, conditionType := range []string{v1alpha1.ConditionAccepted, v1alpha1.ConditionStalled} {
		if e, ok := refusalEvent(conditionType, before, after); ok && (len(list) == 0 || list[len(list)-1].Reason != e.Reason) {
			list = append(list, e)
		}
	}
	if e, ok := a.writeRefusedEvent(before, after); ok {
		list = append(list, e)
	}
	return list
}

// writeRefusedEvent returns the event for a write that the API server refused. It is emitted once per message.
func (f *Facts) writeRefusedEvent(before, after v1alpha1.APIKeyStatus) (Event, bool) {
	was, is := meta.FindStatusCondition(
		before.Conditions,
		v1alpha1.ConditionReady,
	), meta.FindStatusCondition(
		after.Conditions,
		v1alpha1.ConditionReady,
	)
	if !IsRefused(f.Err) || is == nil || is.Reason != v1alpha1.ReasonWriteFailed ||
		was != nil && was.Reason == is.Reason && was.Message == is.Message {
		return Event{}, false
	}
	return Event{Warning: true, Reason: is.Reason, Action: "Write", Note: is.Message}, true
}

func (a *assessment) issueEvent(before, after v1alpha1.APIKeyStatus) (Event, bool) {
	was, is := current(&before), current(&after)
	switch {
	case is == nil || (was != nil && was.SHA256 == is.SHA256):
		return Event{}, false
	case was == nil && a.isImported(&after):
		return Event{Reason: v1alpha1.ReasonImported, Action: "Import", Note: "Imported credential " + is.ID + " by its digest"}, true
	case was == nil && a.Secret.IsOffered:
		return Event{
			Reason: v1alpha1.ReasonAdopted,
			Action: "Adopt",
			Note:   "Adopted credential " + is.ID + " from Secret " + SecretName(a.Key),
		}, true
	case was == nil:
		return Event{Reason: v1alpha1.ReasonIssued, Action: "Issue", Note: "Issued credential " + is.ID}, true
	case a.revokedByTime(was):
		return Event{
			Reason: v1alpha1.ReasonRotated,
			Action: "Rotate",
			Note:   "Credentials issued before spec.rotation.revokeBefore are revoked: rotated to credential " + is.ID + " from " + was.ID,
		}, true
	case slices.ContainsFunc(staged(&before), func(c v1alpha1.Credential) bool { return c.SHA256 == is.SHA256 }):
		return Event{Reason: v1alpha1.ReasonRotated, Action: "Rotate", Note: "Rotated to credential " + is.ID + " from " + was.ID}, true
	}
	return Event{
		Reason: v1alpha1.ReasonReissued,
		Action: "Issue",
		Note:   "The Secret was deleted or edited: issued credential " + is.ID + " in place of " + was.ID,
	}, true
}

// stateEvent returns the event for a change of state. A key that becomes Active with its first credential has the event
// Issued instead.
func stateEvent(before, after v1alpha1.APIKeyStatus) (Event, bool) {
	if before.State == after.State {
		return Event{}, false
	}
	switch after.State {
	case v1alpha1.StateActive:
		return Event{Reason: v1alpha1.ReasonActivated, Action: "Activate", Note: "Verifiers accept the key again"}, current(&before) != nil
	case v1alpha1.StateInactive:
		return Event{Reason: v1alpha1.ReasonDeactivated, Action: "Deactivate", Note: "The key was deactivated"}, current(&before) != nil
	case v1alpha1.StateExpired:
		return Event{Reason: v1alpha1.ReasonExpired, Action: "Expire", Note: "The key has expired"}, true
	case v1alpha1.StateRevoked:
		return Event{Reason: v1alpha1.ReasonRevoked, Action: "Revoke", Note: "The key was revoked permanently"}, true
	case v1alpha1.StatePending, v1alpha1.StateSuspended: // condition Accepted has the reason
	}
	return Event{}, false
}

func refusalEvent(conditionType string, before, after v1alpha1.APIKeyStatus) (Event, bool) {
	is := meta.FindStatusCondition(after.Conditions, conditionType)
	bad := map[string]metav1.ConditionStatus{
		v1alpha1.ConditionAccepted: metav1.ConditionFalse,
		v1alpha1.ConditionStalled:  metav1.ConditionTrue,
	}
	if is == nil || is.Status != bad[conditionType] {
		return Event{}, false
	}
	was := meta.FindStatusCondition(before.Conditions, conditionType)
	if was != nil && was.Status == is.Status && was.Reason == is.Reason {
		return Event{}, false
	}
	return Event{Warning: true, Reason: is.Reason, Action: "Admit", Note: is.Message}, true
}

// maxHistory limits the entries of status.history.
const maxHistory = 20

// AppendHistory appends events to a history and returns its last 20 entries.
func AppendHistory(history []v1alpha1.Transition, happened []Event, now time.Time) []v1alpha1.Transition {
	list := slices.Clone(history)
	for _, e := range happened {
		list = append(list, v1alpha1.Transition{Time: metav1.NewTime(now), Reason: e.Reason, Message: truncate(e.Note)})
	}
	return list[max(0, len(list)-maxHistory):]
}
