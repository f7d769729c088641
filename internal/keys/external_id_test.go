// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// declares returns an account that declares an external ID and was created the given number of seconds after Epoch.
func declares(name, id, uid string, created time.Duration) *v1alpha1.Account {
	a := keystest.NewAccount(name, keystest.Policy(func(s *v1alpha1.AccountSpec) { s.ExternalID = id }))
	a.UID, a.CreationTimestamp = types.UID(uid), metav1.NewTime(keystest.Epoch.Add(created))
	return a
}

func TestExternalIDHolder(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		other  *v1alpha1.Account
		holder string
	}{
		"an older one":                  {declares("acme", "4711", "a", -time.Second), "acme"},
		"a younger one":                 {declares("acme", "4711", "a", time.Second), ""},
		"of the same second":            {declares("acme", "4711", "a", 0), "acme"},
		"of the same second, and after": {declares("acme", "4711", "z", 0), ""},
		"an older one with another ID":  {declares("acme", "4712", "a", -time.Second), ""},
		"itself":                        {declares("bob", "4711", "b", 0), ""},
		"one that is being created":     {declares("acme", "4711", "", 0), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bob := declares("bob", "4711", "b", 0)
			list := []*v1alpha1.Account{bob, tc.other}
			got := ""
			if h := keys.ExternalIDHolder(bob, list); h != nil {
				got = h.Name
			}
			if got != tc.holder {
				t.Errorf("the holder is %q, want %q", got, tc.holder)
			}
			if seen := keys.WithHeldExternalID(bob, list).Spec.ExternalID; (seen == "") != (tc.holder != "") || bob.Spec.ExternalID != "4711" {
				t.Errorf("keys see %q", seen)
			}
			checkTaken(t, bob, list, tc.holder)
		})
	}
	if keys.ExternalIDHolder(declares("bob", "", "b", 0), []*v1alpha1.Account{declares("acme", "", "a", -1)}) != nil {
		t.Error("an empty external ID has a holder")
	}
}

// checkTaken checks the conditions of an account.
func checkTaken(t *testing.T, a *v1alpha1.Account, declaring []*v1alpha1.Account, holder string) {
	t.Helper()
	after := keys.DescribeAccount(keys.AccountFacts{Account: a, Declaring: declaring, Settings: keystest.Settings, Now: keystest.Epoch})
	ready, stalled := meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionReady), meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionStalled)
	switch {
	case holder == "":
		if ready.Status != metav1.ConditionTrue || stalled != nil {
			t.Errorf("ready is %+v, stalled %+v", ready, stalled)
		}
	case ready.Status != metav1.ConditionFalse || ready.Reason != v1alpha1.ReasonExternalIDTaken || !strings.Contains(ready.Message, holder):
		t.Errorf("ready is %+v", ready)
	case stalled == nil || stalled.Status != metav1.ConditionTrue || stalled.Reason != v1alpha1.ReasonExternalIDTaken:
		t.Errorf("stalled is %+v", stalled)
	}
}
