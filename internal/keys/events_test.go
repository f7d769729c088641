// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func TestEvents(t *testing.T) {
	t.Parallel()
	first, second := keystest.CredentialOf("first"), keystest.CredentialOf("second")
	previous := first
	previous.Role = v1alpha1.RolePrevious
	staged := second
	staged.Role = v1alpha1.RoleStaged
	status := func(state v1alpha1.ObservedState, credentials []v1alpha1.Credential, conditions ...metav1.Condition) v1alpha1.APIKeyStatus {
		return v1alpha1.APIKeyStatus{State: state, Credentials: credentials, Conditions: conditions}
	}
	condition := func(conditionType string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: conditionType, Status: status, Reason: reason, Message: "Because of " + reason}
	}
	refused := func(reason string) metav1.Condition {
		return condition(v1alpha1.ConditionAccepted, metav1.ConditionFalse, reason)
	}
	stalled := func(reason string) metav1.Condition {
		return condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, reason)
	}
	accepted := condition(v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	unknown := condition(v1alpha1.ConditionAccepted, metav1.ConditionUnknown, v1alpha1.ReasonPending)
	warning := func(reason string) keys.Event {
		return keys.Event{Warning: true, Reason: reason, Action: "Admit", Note: "Because of " + reason}
	}
	none, one, two := []v1alpha1.Credential(nil), []v1alpha1.Credential{first}, []v1alpha1.Credential{previous, second}
	const (
		pending, active, inactive = v1alpha1.StatePending, v1alpha1.StateActive, v1alpha1.StateInactive
		expired, revoked          = v1alpha1.StateExpired, v1alpha1.StateRevoked
	)
	issued := keys.Event{Reason: v1alpha1.ReasonIssued, Action: "Issue", Note: "Issued credential " + first.ID}
	activated := keys.Event{Reason: v1alpha1.ReasonActivated, Action: "Activate", Note: "Verifiers accept the key again"}
	deactivated := keys.Event{Reason: v1alpha1.ReasonDeactivated, Action: "Deactivate", Note: "The key was deactivated"}
	for name, tc := range map[string]struct {
		before, after v1alpha1.APIKeyStatus
		want          []keys.Event
		option        keystest.KeyOption // a change of the spec
	}{
		"nothing happened":              {status(active, one, accepted), status(active, one, accepted), nil, nil},
		"a new key waits":               {status("", none), status(pending, none, unknown), nil, nil},
		"the first credential":          {status("", none), status(active, one, accepted), []keys.Event{issued}, nil},
		"the first, after a wait":       {status(pending, none, unknown), status(active, one, accepted), []keys.Event{issued}, nil},
		"the first, of an inactive key": {status("", none), status(inactive, one, accepted), []keys.Event{issued}, nil},
		"another credential": {
			status(active, one), status(active, two),
			[]keys.Event{{Reason: v1alpha1.ReasonReissued, Action: "Issue", Note: "The Secret was deleted or edited: issued credential " + second.ID + " in place of " + first.ID}},
			nil,
		},
		"rotated": {
			status(active, []v1alpha1.Credential{first, staged}), status(active, two),
			[]keys.Event{{Reason: v1alpha1.ReasonRotated, Action: "Rotate", Note: "Rotated to credential " + second.ID + " from " + first.ID}},
			nil,
		},
		"the next credential is staged": {status(active, one), status(active, []v1alpha1.Credential{first, staged}), nil, nil},
		"rotated, because the one before is revoked": {
			status(active, one), status(active, two[1:]),
			[]keys.Event{{Reason: v1alpha1.ReasonRotated, Action: "Rotate", Note: "Credentials issued before spec.rotation.revokeBefore are revoked: rotated to credential " + second.ID + " from " + first.ID}},
			keystest.RevokedBefore(now),
		},
		"the previous credential ends":           {status(active, two), status(active, two[1:]), nil, nil},
		"inactive":                               {status(active, one), status(inactive, one), []keys.Event{deactivated}, nil},
		"switched on":                            {status(inactive, one), status(active, one), []keys.Event{activated}, nil},
		"created inactive":                       {status("", none), status(inactive, none), nil, nil},
		"expired":                                {status(active, one), status(expired, one), []keys.Event{{Reason: v1alpha1.ReasonExpired, Action: "Expire", Note: "The key has expired"}}, nil},
		"revived":                                {status(expired, one), status(active, one), []keys.Event{activated}, nil},
		"revoked":                                {status(inactive, one), status(revoked, one), []keys.Event{{Reason: v1alpha1.ReasonRevoked, Action: "Revoke", Note: "The key was revoked permanently"}}, nil},
		"refused":                                {status(active, one, accepted), status(pending, one, refused(v1alpha1.ReasonAccountSuspended)), []keys.Event{warning(v1alpha1.ReasonAccountSuspended)}, nil},
		"refused from the start":                 {status("", none), status(pending, none, refused(v1alpha1.ReasonLimitReached)), []keys.Event{warning(v1alpha1.ReasonLimitReached)}, nil},
		"refused as before":                      {status(pending, none, refused(v1alpha1.ReasonLimitReached)), status(pending, none, refused(v1alpha1.ReasonLimitReached)), nil, nil},
		"refused for another reason":             {status(pending, none, refused(v1alpha1.ReasonLimitReached)), status(pending, none, refused(v1alpha1.ReasonAccountSuspended)), []keys.Event{warning(v1alpha1.ReasonAccountSuspended)}, nil},
		"refused, and only a person helps: once": {status("", none), status(pending, none, refused(v1alpha1.ReasonLabelTaken), stalled(v1alpha1.ReasonLabelTaken)), []keys.Event{warning(v1alpha1.ReasonLabelTaken)}, nil},
		"accepted again":                         {status(pending, one, refused(v1alpha1.ReasonAccountSuspended)), status(active, one, accepted), []keys.Event{activated}, nil},
		"no longer refused, and waiting":         {status(pending, none, refused(v1alpha1.ReasonLimitReached)), status(pending, none, unknown), nil, nil},
		"accepted, and stuck":                    {status(active, one, accepted), status(active, one, accepted, stalled(v1alpha1.ReasonSecretConflict)), []keys.Event{warning(v1alpha1.ReasonSecretConflict)}, nil},
		"stuck as before":                        {status(active, one, accepted, stalled(v1alpha1.ReasonSecretConflict)), status(active, one, accepted, stalled(v1alpha1.ReasonSecretConflict)), nil, nil},
		"inactive and refused at once": {
			status(active, one, accepted), status(inactive, one, refused(v1alpha1.ReasonAccountSuspended)), []keys.Event{deactivated, warning(v1alpha1.ReasonAccountSuspended)}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := func(before, after v1alpha1.APIKeyStatus) []keys.Event {
				k := keystest.Key("shop", keystest.Status(func(s *v1alpha1.APIKeyStatus) { *s = before }))
				if tc.option != nil {
					tc.option(k)
				}
				return keys.Events(keys.Facts{Key: k, Now: now}, after)
			}
			if diff := cmp.Diff(tc.want, told(tc.before, tc.after)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if list := told(tc.after, tc.after); len(list) > 0 {
				t.Errorf("reported again: %v", list)
			}
		})
	}
}

func TestAppendHistory_KeepsLastTwenty(t *testing.T) {
	t.Parallel()
	var history []v1alpha1.Transition
	for i := range 50 {
		before := slices.Clone(history)
		next := keys.AppendHistory(history, []keys.Event{{Reason: "R", Note: fmt.Sprint(i)}, {Reason: "R", Note: fmt.Sprint(i, "b")}}, keystest.Epoch.Add(time.Duration(i)))
		if !reflect.DeepEqual(before, history) {
			t.Fatal("the history that was given has changed")
		}
		history = next
	}
	if len(history) != 20 || history[0].Message != "40" || history[19].Message != "49b" {
		t.Errorf("%d entries from %q to %q", len(history), history[0].Message, history[len(history)-1].Message)
	}
}
