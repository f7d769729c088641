// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func TestDescribeAccount_Conditions(t *testing.T) {
	t.Parallel()
	ready := func(status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: v1alpha1.ConditionReady, Status: status, Reason: reason, ObservedGeneration: 1}
	}
	stalled := metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInvalidSpec, ObservedGeneration: 1}
	for name, tc := range map[string]struct {
		option keystest.AccountOption
		want   []metav1.Condition
	}{
		"in use":                               {keystest.Zone("UTC"), []metav1.Condition{ready(metav1.ConditionTrue, v1alpha1.ReasonActive)}},
		"suspended":                            {keystest.Suspended(), []metav1.Condition{ready(metav1.ConditionTrue, v1alpha1.ReasonAccountSuspended)}},
		"with a zone that does not exist":      {keystest.Zone("Mars/Base"), []metav1.Condition{ready(metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec), stalled}},
		"with one, and suspended on top of it": {func(a *v1alpha1.Account) { keystest.Zone("Mars/Base")(a); keystest.Suspended()(a) }, []metav1.Condition{ready(metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec), stalled}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := keys.AccountFacts{Account: keystest.NewAccount("acme", tc.option), Settings: keystest.Settings, Now: keystest.Epoch}
			got := keys.DescribeAccount(f)
			if diff := cmp.Diff(tc.want, got.Conditions, cmpopts.IgnoreFields(metav1.Condition{}, "Message", "LastTransitionTime")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if err := checkConditions(got.Conditions); err != nil {
				t.Error(err)
			}
			if err := checkDescribeAccount(f); err != nil {
				t.Error(err)
			}
			f.Account = keystest.NewAccount("acme", func(a *v1alpha1.Account) { a.Status = got })
			f.Now = f.Now.Add(time.Hour)
			if mended := keys.DescribeAccount(f); len(mended.Conditions) != 1 || mended.Conditions[0].Reason != v1alpha1.ReasonActive {
				t.Errorf("repaired, it has %+v", mended.Conditions)
			}
		})
	}
}

func TestDescribeAccount_CountsKeys(t *testing.T) {
	t.Parallel()
	n := func(i int32) *int32 { return &i }
	state := func(name string, hours int, s v1alpha1.ObservedState) *v1alpha1.APIKey {
		return aged(name, hours, keystest.Issued(keystest.Epoch), keystest.Observed(s))
	}
	list := []*v1alpha1.APIKey{
		state("a", 1, v1alpha1.StateActive), state("b", 2, v1alpha1.StateActive), state("c", 3, v1alpha1.StateInactive),
		state("d", 4, v1alpha1.StateExpired), state("e", 5, v1alpha1.StateRevoked), aged("f", 6), aged("g", 7, keystest.Whitelist("x")),
	}
	for name, tc := range map[string]struct {
		option keystest.AccountOption
		want   v1alpha1.KeyCounts
	}{
		"full":            {keystest.MaxKeys(5), v1alpha1.KeyCounts{Usage: "5/5", Admitted: n(5), Waiting: n(1)}},
		"with room":       {keystest.MaxKeys(9), v1alpha1.KeyCounts{Usage: "6/9", Admitted: n(6), Waiting: n(0)}},
		"over the limit":  {keystest.MaxKeys(2), v1alpha1.KeyCounts{Usage: "5/2", Admitted: n(5), Waiting: n(1)}},
		"without a limit": {keystest.Unlimited(), v1alpha1.KeyCounts{Usage: "5/unlimited", Admitted: n(5), Waiting: n(0)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.want.Active, tc.want.Inactive, tc.want.Expired, tc.want.Revoked = n(2), n(1), n(1), n(1)
			f := keys.AccountFacts{
				Account: keystest.NewAccount("acme", tc.option), Keys: list, Settings: keystest.Settings, Now: keystest.Epoch,
				Confirmed: map[string]bool{"a": true, "b": true, "c": true, "d": true, "e": true},
			}
			got := keys.DescribeAccount(f)
			if diff := cmp.Diff(&tc.want, got.Keys); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got.ObservedGeneration != 1 || got.DeletionPolicy != v1alpha1.DeletionAllow {
				t.Errorf("generation %d, deletion policy %s", got.ObservedGeneration, got.DeletionPolicy)
			}
		})
	}
}

// The mail controller writes the count. The account controller must not lose it.
func TestDescribeAccount_KeepsMailCount(t *testing.T) {
	t.Parallel()
	a, sent := keystest.NewAccount("acme"), int32(4)
	a.Status.Mail = &v1alpha1.MailStatus{Date: "2026-10-24", Sent: &sent}
	after := keys.DescribeAccount(keys.AccountFacts{Account: a, Now: keystest.Epoch.Add(time.Hour)})
	if diff := cmp.Diff(a.Status.Mail, after.Mail); diff != "" {
		t.Errorf("the count of mails changed (-want +got):\n%s", diff)
	}
}
