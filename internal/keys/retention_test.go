// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// ended returns the facts of a key that expired or was revoked at keystest.Epoch, one hour later, with the status that
// the manager gave it. Its account keeps such keys for an hour.
func ended(options ...keystest.KeyOption) keys.Facts {
	k := keystest.Key("shop", append([]keystest.KeyOption{keystest.Issued(keystest.Epoch.Add(-24 * time.Hour)), keystest.Created(keystest.Epoch.Add(-24 * time.Hour))}, options...)...)
	a := keystest.NewAccount("acme", keystest.Slots(k))
	a.Spec.Retention = &v1alpha1.Retention{ExpiredAfter: "1h", RevokedAfter: "1h"}
	f := keys.Facts{Key: k, Account: a, Settings: keystest.Settings, Now: keystest.Epoch, Secret: keystest.SecretOf(k)}
	if k.Spec.State == v1alpha1.KeyStateRevoked {
		f.Secret = keys.ObservedSecret{Ownership: keys.SecretOwned, ResourceVersion: "7"}
	}
	k.Status = keys.Describe(f)
	f.Now = keystest.Epoch.Add(time.Hour)
	return f
}

func expired() keys.Facts { return ended(keystest.Expiring(keystest.Epoch)) }
func revoked() keys.Facts { return ended(keystest.State(v1alpha1.KeyStateRevoked)) }

func TestRetention_DeletesEndedKeys(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]keys.Facts{"expired": expired(), "revoked": revoked()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := keys.Decide(f)
			if diff := cmp.Diff([]keys.Step{keys.DeleteKey{Name: "shop"}}, plan.Steps); diff != "" || !plan.DeletesKey() {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if plan.Why != "the retention period of the account has passed" || plan.Steps[0].String() != "delete APIKey shop" {
				t.Errorf("why: %s, step: %s", plan.Why, plan.Steps[0])
			}
			f.Now = f.Now.Add(-time.Second)
			if plan, next := keys.Decide(f), keys.NextCheck(f); len(plan.Steps) > 0 || !next.Equal(keystest.Epoch.Add(time.Hour)) {
				t.Errorf("a second before: steps %v, next at %s", plan.Steps, next)
			}
		})
	}
}

func TestRetention_NeedsNoConfirmation(t *testing.T) {
	t.Parallel()
	f := revoked()
	f.Account.Spec.DeletionPolicy = v1alpha1.DeletionRequireConfirmation
	if !keys.RetentionOver(f) || !keys.Decide(f).DeletesKey() {
		t.Error("the key is kept")
	}
}

// keepsKey describes a reason to keep a key that would otherwise be deleted.
type keepsKey struct {
	of     func() keys.Facts
	change func(*keys.Facts)
	// decided means that only the facts contain the reason, which the webhook does not have.
	decided bool
}

func TestRetention_KeepsKeys(t *testing.T) {
	t.Parallel()
	readable := func(f *keys.Facts) { f.Key.Undecodable = []string{"spec.rotation"} }
	for name, tc := range map[string]keepsKey{
		"without a retention":                    {of: revoked, change: func(f *keys.Facts) { f.Account.Spec.Retention = nil }},
		"revoked, where expired ones go":         {of: revoked, change: func(f *keys.Facts) { f.Account.Spec.Retention.RevokedAfter = "" }},
		"expired, where revoked ones go":         {of: expired, change: func(f *keys.Facts) { f.Account.Spec.Retention.ExpiredAfter = "" }},
		"with a retention that is too short":     {of: revoked, change: func(f *keys.Facts) { f.Account.Spec.Retention.RevokedAfter = "59s" }},
		"with a retention that can't be counted": {of: revoked, change: func(f *keys.Facts) { f.Account.Spec.Retention.RevokedAfter = "999999h999999h999999h" }},
		"without an account":                     {of: revoked, change: func(f *keys.Facts) { f.Account = nil }},
		"under Forbid":                           {of: expired, change: func(f *keys.Facts) { f.Account.Spec.DeletionPolicy = v1alpha1.DeletionForbid }},
		"under Forbid by default":                {of: expired, change: func(f *keys.Facts) { f.Settings.DeletionPolicy = v1alpha1.DeletionForbid }},
		"of an account that can't be decoded":    {of: revoked, change: func(f *keys.Facts) { f.Account.Undecodable = []string{"spec.deletionPolicy"} }},
		"that can't be decoded":                  {of: revoked, change: readable},
		"that are being deleted":                 {of: revoked, change: func(f *keys.Facts) { keystest.Deleting(keystest.Epoch)(f.Key) }},
		"that were extended":                     {of: expired, change: func(f *keys.Facts) { f.Key.Spec.Expiration = "2099-01-01" }},
		"that expire no more":                    {of: expired, change: func(f *keys.Facts) { f.Key.Spec.Expiration = "" }},
		"expired, and then inactive":             {of: expired, change: func(f *keys.Facts) { f.Key.Spec.State = v1alpha1.KeyStateInactive }},
		"expired, and then revoked":              {of: expired, change: func(f *keys.Facts) { f.Key.Spec.State = v1alpha1.KeyStateRevoked }},
		"that are Inactive":                      {of: func() keys.Facts { return ended(keystest.State(v1alpha1.KeyStateInactive)) }, change: func(*keys.Facts) {}},
		"whose change has not been observed":     {of: revoked, change: func(f *keys.Facts) { f.Key.Generation++ }},
		"whose status says that they aren't Ready": {of: revoked, change: func(f *keys.Facts) {
			meta.FindStatusCondition(f.Key.Status.Conditions, v1alpha1.ConditionReady).Status = metav1.ConditionFalse
		}},
		"without conditions":                             {of: revoked, change: func(f *keys.Facts) { f.Key.Status.Conditions = nil }},
		"whose history lacks the entry":                  {of: revoked, change: func(f *keys.Facts) { f.Key.Status.History = nil }},
		"whose short history lacks the entry":            {of: revoked, change: func(f *keys.Facts) { f.Key.Status.History[len(f.Key.Status.History)-1].Reason = "Issued" }},
		"whose accepted expiration is not in the status": {of: expired, change: func(f *keys.Facts) { f.Key.Status.ExpirationTime = nil }},
		"that some verifier may accept": {of: revoked, change: func(f *keys.Facts) {
			f.Settings.Verifiers = true
			setEnforced(f.Key, metav1.ConditionFalse)
		}},
		"of which verifiers were not asked yet":    {of: revoked, change: func(f *keys.Facts) { f.Settings.Verifiers = true }},
		"revoked, whose Secret holds a key again":  {of: revoked, change: func(f *keys.Facts) { f.Secret = keystest.ObservedSecret("again") }, decided: true},
		"revoked, whose Secret is another's mess":  {of: revoked, change: func(f *keys.Facts) { f.Secret.Drifted = true }, decided: true},
		"expired, whose Secret was deleted":        {of: expired, change: func(f *keys.Facts) { f.Secret = keys.ObservedSecret{Ownership: keys.SecretMissing} }, decided: true},
		"expired, whose Secret is another's now":   {of: expired, change: func(f *keys.Facts) { f.Secret = keys.ObservedSecret{Ownership: keys.SecretForeign} }, decided: true},
		"expired, which the account takes no more": {of: expired, change: func(f *keys.Facts) { f.Account.Spec.AllowedScopes, f.Key.Spec.Scopes = []string{"a"}, []string{"b"} }, decided: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := tc.of()
			tc.change(&f)
			if keys.Decide(f).DeletesKey() {
				t.Error("the key is deleted")
			}
			if keys.RetentionOver(f) != tc.decided {
				t.Errorf("the webhook would say %t", !tc.decided)
			}
		})
	}
}

func setEnforced(k *v1alpha1.APIKey, status metav1.ConditionStatus) {
	meta.SetStatusCondition(&k.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionEnforced, Status: status, Reason: "Test", ObservedGeneration: k.Generation})
}

// A key that a verifier may still accept is reconciled again: the write that sets Enforced does not enqueue it.
func TestRetention_RechecksUntilEnforced(t *testing.T) {
	t.Parallel()
	f := revoked()
	f.Settings.Verifiers = true
	setEnforced(f.Key, metav1.ConditionFalse)
	if next := keys.NextCheck(f); !next.Equal(f.Now.Add(time.Minute)) {
		t.Errorf("next at %s", next)
	}
	for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionUnknown} { // Unknown: there is no verifier
		setEnforced(f.Key, status)
		if !keys.Decide(f).DeletesKey() {
			t.Errorf("Enforced=%s: the key is kept", status)
		}
	}
}

func TestRetention_StartOfPeriod(t *testing.T) {
	t.Parallel()
	hour := func(n int) time.Time { return keystest.Epoch.Add(time.Duration(n) * time.Hour) }
	entry := func(reason string, n int) v1alpha1.Transition {
		return v1alpha1.Transition{Time: metav1.NewTime(hour(n)), Reason: reason}
	}
	many := func(n int) []v1alpha1.Transition {
		return slices.Repeat([]v1alpha1.Transition{entry("LabelTaken", n)}, 20)
	}
	for name, tc := range map[string]struct {
		of         func() keys.Facts
		history    []v1alpha1.Transition
		expiration int
		want       time.Time
	}{
		"revoked, from the entry on": {of: revoked, history: []v1alpha1.Transition{entry("Issued", -9), entry("Revoked", 2)}, want: hour(3)},
		"revoked after it was Inactive, whose condition is older": {
			of: revoked, history: []v1alpha1.Transition{entry("Deactivated", -9), entry("Revoked", 5)}, want: hour(6),
		},
		"revoked, with the entry dropped, from the oldest on":   {of: revoked, history: many(4), want: hour(5)},
		"expired, from the last entry on":                       {of: expired, history: []v1alpha1.Transition{entry("Expired", -9), entry("Activated", -8), entry("Expired", 1)}, want: hour(2)},
		"expired by a date in the past, from when it took hold": {of: expired, expiration: -1000, history: []v1alpha1.Transition{entry("Expired", 7)}, want: hour(8)},
		"expired, and moved to another instant that is past":    {of: expired, expiration: 3, history: []v1alpha1.Transition{entry("Expired", 0)}, want: hour(4)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := tc.of()
			f.Key.Status.History = tc.history
			if f.Key.Status.ExpirationTime != nil {
				f.Key.Spec.Expiration = hour(tc.expiration).Format(time.RFC3339)
				f.Key.Status.ExpirationTime = &metav1.Time{Time: hour(tc.expiration)}
			}
			f.Now = tc.want.Add(-time.Second)
			if keys.Decide(f).DeletesKey() || !keys.NextCheck(f).Equal(tc.want) {
				t.Errorf("a second before: %+v", keys.Decide(f))
			}
			f.Now = tc.want
			if !keys.Decide(f).DeletesKey() {
				t.Errorf("the key is kept: %+v", keys.Decide(f))
			}
		})
	}
}

func TestRetention_Event(t *testing.T) {
	t.Parallel()
	e := keys.RetentionEvent(revoked().Key)
	if e.Reason != v1alpha1.ReasonRetentionOver || e.Warning || !strings.Contains(e.Note, "Revoked") || !strings.Contains(e.Note, "spec.retention of account acme") {
		t.Errorf("event: %+v", e)
	}
}

// TestSimulation_RetentionHolds lets many keys expire or be revoked in accounts that keep them for a short time.
func TestSimulation_RetentionHolds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(chanceOf(t), rules{}, rapid.IntRange(1, 3).Draw(t, "managers"))
		_ = s.w.createAccount(keystest.NewAccount("acme", keystest.MaxKeys(3)))
		end := []action{
			{"retention", 10, func() { s.setAccount(s.changeRetention()) }},
			{"revoke", 8, func() { s.setState(s.anyName(), v1alpha1.KeyStateRevoked) }},
			{"expire", 8, func() { s.changeKey(func(k *v1alpha1.APIKeySpec) { k.Expiration = "2020-01-01" }) }},
			{"wait", 8, func() { s.w.now = s.w.now.Add(time.Hour) }},
		}
		s.act(t, slices.Concat(s.machinery(), s.users(), end), 120)
		if err := s.settle(); err != nil {
			s.fatal(t, err)
		}
	})
}
