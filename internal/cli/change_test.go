// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// keyWith returns a key whose manager has observed generation 2 of its spec.
func keyWith(state v1alpha1.ObservedState, conditions ...metav1.Condition) *v1alpha1.APIKey {
	return &v1alpha1.APIKey{
		ObjectMeta: metav1.ObjectMeta{Generation: 2},
		Status:     v1alpha1.APIKeyStatus{ObservedGeneration: 2, State: state, Conditions: conditions},
	}
}

func condition(name string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: name, Status: status, Reason: reason, Message: message, ObservedGeneration: 2}
}

var (
	isReady           = condition(v1alpha1.ConditionReady, metav1.ConditionTrue, "", "")
	isNotReady        = condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonLimitReached, "Account acme is full")
	isStalled         = condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSecretConflict, "Secret x exists")
	isEnforced        = condition(v1alpha1.ConditionEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforced, "")
	isEnforcing       = condition(v1alpha1.ConditionEnforced, metav1.ConditionFalse, v1alpha1.ReasonEnforcing, "Verifier a has not observed it")
	isEnforcedEarlier = metav1.Condition{Type: v1alpha1.ConditionEnforced, Status: metav1.ConditionTrue, ObservedGeneration: 1}
	hasNoWatcher      = condition(v1alpha1.ConditionEnforced, metav1.ConditionUnknown, v1alpha1.ReasonNoVerifier, "No verifier is running")
)

func TestCarriedOut(t *testing.T) {
	unobserved := keyWith(v1alpha1.StateActive, isReady)
	unobserved.Generation = 3
	for name, tc := range map[string]struct {
		key  *v1alpha1.APIKey
		want outcome
	}{
		"not observed": {unobserved, outcome{Message: "the manager has not observed the change yet; kubectl apikey check says if it is running"}},
		"ready":        {keyWith(v1alpha1.StateExpired, isReady), outcome{Done: true, Message: "the key is Expired"}},
		"waiting":      {keyWith(v1alpha1.StatePending, isNotReady), outcome{Message: "Account acme is full"}},
		"stalled":      {keyWith(v1alpha1.StatePending, isNotReady, isStalled), outcome{Failed: true, Message: "Secret x exists"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, carriedOut(tc.key)); diff != "" {
				t.Errorf("carriedOut: (-want +got)\n%s", diff)
			}
		})
	}
}

// A command must not say that a key is rejected before every verifier rejects it.
func TestIsDisabled(t *testing.T) {
	for name, tc := range map[string]struct {
		key   *v1alpha1.APIKey
		since time.Duration
		want  outcome
	}{
		"every verifier rejects it": {keyWith(v1alpha1.StateInactive, isReady, isEnforced), 0, outcome{Done: true, Message: "the key is Inactive, and every verifier rejects it"}},
		"a verifier is behind":      {keyWith(v1alpha1.StateInactive, isReady, isEnforcing), time.Minute, outcome{Message: "Verifier a has not observed it"}},
		"no verifier":               {keyWith(v1alpha1.StateInactive, isReady, hasNoWatcher), 0, outcome{Done: true, Message: "the key is Inactive. No verifier is running"}},
		"a report about an earlier spec": {keyWith(v1alpha1.StateRevoked, isReady, isEnforcedEarlier), time.Second, outcome{
			Message: "the manager has not reported yet that every verifier rejects the key",
		}},
		"an expired key": {keyWith(v1alpha1.StateExpired, isReady), 0, outcome{Done: true, Message: "the key is Expired"}},
		"no report yet":  {keyWith(v1alpha1.StateInactive, isReady), time.Second, outcome{Message: "the manager has not reported yet that every verifier rejects the key"}},
		"no report at all": {keyWith(v1alpha1.StateInactive, isReady), time.Minute, outcome{
			Done:    true,
			Message: "the key is Inactive; the manager does not report if every verifier rejects it: see its flag --verifier-service",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, isDisabled(tc.key, tc.since)); diff != "" {
				t.Errorf("isDisabled: (-want +got)\n%s", diff)
			}
		})
	}
}
