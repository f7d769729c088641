// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// undecodable marks fields of a key as undecodable.
func undecodable(fields ...string) keystest.KeyOption {
	return func(k *v1alpha1.APIKey) { k.Undecodable = fields }
}

func TestAdmit_UndecodableKeys(t *testing.T) {
	t.Parallel()
	issued, usable := keystest.Issued(keystest.Epoch), keystest.Counting(v1alpha1.CountUsable)
	type list = []*v1alpha1.APIKey
	for name, tc := range map[string]struct {
		options   []keystest.AccountOption
		holders   list
		keys      list
		wantSlots string
	}{
		"keep their slot and its label": {
			holders: list{aged("a", 1, keystest.Label("x"))}, keys: list{aged("a", 1, undecodable("spec.label"))}, wantSlots: " a=1(x)",
		},
		"keep it when their state is not known": {
			options: []keystest.AccountOption{usable}, holders: list{aged("a", 1)},
			keys: list{aged("a", 1, undecodable("spec.state"), keystest.Released("1"), keystest.State(v1alpha1.KeyStateInactive))}, wantSlots: " a=1",
		},
		"are not granted one": {keys: list{aged("a", 1, undecodable("spec.rotation")), aged("b", 2)}, wantSlots: " b=100"},
		"that were issued leave room for one of theirs": {
			options: []keystest.AccountOption{keystest.MaxKeys(1)}, keys: list{aged("a", 1, issued, undecodable("spec.rotation")), aged("b", 2)},
		},
		"that may have been issued do so too": {
			options: []keystest.AccountOption{keystest.MaxKeys(1)}, keys: list{aged("a", 1, undecodable("status")), aged("b", 2)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			account := keystest.NewAccount("acme", append(tc.options, keystest.Slots(tc.holders...))...)
			for i, k := range tc.holders {
				account.Status.Slots[i] = keystest.SlotOf(k, "1")
			}
			admission := keys.Admit(keys.AccountFacts{Account: account, Keys: tc.keys, Settings: keystest.Settings, Now: keystest.Epoch, Confirmed: map[string]bool{"a": true}})
			if got := slots(admission.Slots); got != tc.wantSlots {
				t.Errorf("slots are%s, want%s", got, tc.wantSlots)
			}
		})
	}
}

func TestCheckPolicy_Undecodable(t *testing.T) {
	t.Parallel()
	lost := keystest.NewAccount("acme", func(a *v1alpha1.Account) { a.Undecodable = []string{"spec.limits"} })
	for name, tc := range map[string]struct {
		f    keys.Facts
		want string
	}{
		"a key":      {keys.Facts{Key: keystest.Key("a", undecodable("spec.rotation", "spec.label"))}, "spec.rotation, spec.label cannot be decoded: correct it"},
		"an account": {keys.Facts{Key: keystest.Key("a"), Account: lost}, "spec.limits of account acme cannot be decoded: correct it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.f.Settings, tc.f.Now = keystest.Settings, keystest.Epoch
			r := keys.CheckPolicy(tc.f)
			if r == nil || r.Reason != v1alpha1.ReasonInvalidSpec || !strings.HasPrefix(r.Message, tc.want) {
				t.Errorf("refused with %+v, want %q", r, tc.want)
			}
			if plan := keys.Decide(tc.f); len(plan.Steps) > 0 {
				t.Errorf("steps are %v", plan.Steps)
			}
		})
	}
}

func TestSettings_DeletionOfUndecodableAccounts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fields    []string
		spec, was v1alpha1.DeletionPolicy
		want      v1alpha1.DeletionPolicy
	}{
		"another field":              {[]string{"spec.limits"}, v1alpha1.DeletionForbid, "", v1alpha1.DeletionForbid},
		"another field, none named":  {[]string{"spec.limits"}, "", "", v1alpha1.DeletionAllow},
		"the policy, and its record": {[]string{"spec.deletionPolicy"}, "", v1alpha1.DeletionRequireConfirmation, v1alpha1.DeletionRequireConfirmation},
		"the policy, and no record":  {[]string{"spec.deletionPolicy"}, "", "", v1alpha1.DeletionForbid},
		"all of the spec":            {[]string{"spec"}, "", v1alpha1.DeletionAllow, v1alpha1.DeletionAllow},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := keystest.NewAccount("acme", func(a *v1alpha1.Account) {
				a.Undecodable, a.Spec.DeletionPolicy, a.Status.DeletionPolicy = tc.fields, tc.spec, tc.was
			})
			if got := (keys.Settings{}).Deletion(a); got != tc.want {
				t.Errorf("the policy is %s, want %s", got, tc.want)
			}
		})
	}
}
