// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/usage"
)

// The credential is written to the Secret once verifiers have observed it. One that is lost with its process is
// replaced.
func TestDecide_Staging(t *testing.T) {
	t.Parallel()
	next, lost := keystest.WithCredential("next", v1alpha1.RoleStaged, now), keystest.WithCredential("lost", v1alpha1.RoleStaged, now)
	stage := keys.StageCredential{Name: "shop", Format: keystest.Token}
	promote, fence := keys.PromoteStaged{Name: "shop", WithOverlap: true}, keys.FenceSecret{Name: "shop"}
	inactive := keystest.State(v1alpha1.KeyStateInactive)
	for name, tc := range map[string]struct {
		options    []keystest.KeyOption
		staged     string
		held       string
		propagated bool
		after      time.Duration
		want       []keys.Step
	}{
		"verifiers may not know it yet":          {options: []keystest.KeyOption{next}, staged: "next", after: 4 * time.Second},
		"verifiers know it":                      {options: []keystest.KeyOption{next}, staged: "next", propagated: true, want: []keys.Step{promote}},
		"they had their time":                    {options: []keystest.KeyOption{next}, staged: "next", after: 5 * time.Second, want: []keys.Step{promote}},
		"without an overlap":                     {options: []keystest.KeyOption{next, keystest.Rotation("", "0s")}, staged: "next", propagated: true, want: []keys.Step{keys.PromoteStaged{Name: "shop"}}},
		"its process ended":                      {options: []keystest.KeyOption{next}, want: []keys.Step{stage}},
		"its process ended, and another had one": {options: []keystest.KeyOption{next}, staged: "another", propagated: true, want: []keys.Step{stage}},
		"the one staged last":                    {options: []keystest.KeyOption{lost, next}, staged: "next", propagated: true, want: []keys.Step{promote}},
		"not the one staged before":              {options: []keystest.KeyOption{next, lost}, staged: "next", propagated: true, want: []keys.Step{fence, stage}},
		"two processes ended":                    {options: []keystest.KeyOption{lost, next}, want: []keys.Step{fence, stage}},
		"the Secret holds it":                    {options: []keystest.KeyOption{next}, held: "next"},
		"the Secret holds the one staged before": {options: []keystest.KeyOption{lost, next}, held: "lost", staged: "next", propagated: true},
		"inactive meanwhile":                     {options: []keystest.KeyOption{next, inactive}, staged: "next", propagated: true, want: []keys.Step{promote}},
		"inactive, and its process ended":        {options: []keystest.KeyOption{next, inactive}},
		"it was revoked meanwhile": {
			options: []keystest.KeyOption{next, keystest.RevokedBefore(now.Add(time.Second))}, staged: "next", propagated: true, after: time.Second, want: []keys.Step{stage},
		},
		"the current one was revoked": {options: []keystest.KeyOption{keystest.RevokedBefore(now)}, want: []keys.Step{stage}},
		"the current one was revoked, and verifiers know the next": {
			options: []keystest.KeyOption{next, keystest.RevokedBefore(now)}, staged: "next", propagated: true, want: []keys.Step{keys.PromoteStaged{Name: "shop"}},
		},
		"the key is suspended meanwhile": {options: []keystest.KeyOption{next, keystest.Account("suspended")}, staged: "next", propagated: true},
		"the key is revoked meanwhile":   {options: []keystest.KeyOption{next, keystest.State(v1alpha1.KeyStateRevoked)}, staged: "next", propagated: true, want: []keys.Step{keys.ClearSecret{Name: "shop"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := keystest.Key("shop", append([]keystest.KeyOption{keystest.Issued(keystest.Epoch)}, tc.options...)...)
			a := keystest.NewAccount(k.Spec.Account, keystest.Slots(k))
			if k.Spec.Account == "suspended" {
				keystest.Suspended()(a)
			}
			f := keys.Facts{Key: k, Account: a, Secret: keystest.SecretOf(k), Settings: keystest.Settings, Now: now.Add(tc.after), Propagated: tc.propagated}
			if tc.staged != "" {
				f.Staged = keystest.ObservedCredential(tc.staged)
			}
			if tc.held != "" {
				f.Secret = keystest.ObservedSecret(tc.held)
			}
			plan := keys.Decide(f)
			if diff := cmp.Diff(tc.want, plan.Steps); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if waits := plan.Why == "waiting for verifiers to observe the staged credential"; waits && !keys.NextCheck(f).Equal(now.Add(5*time.Second)) {
				t.Errorf("looks again at %s: %s", keys.NextCheck(f), plan.Why)
			}
		})
	}
}

// TestDescribe_Staged checks which staged credentials the status lists, and which becomes the current one.
func TestDescribe_Staged(t *testing.T) {
	t.Parallel()
	next, lost := keystest.WithCredential("next", v1alpha1.RoleStaged, now), keystest.WithCredential("lost", v1alpha1.RoleStaged, now)
	for name, tc := range map[string]struct {
		options []keystest.KeyOption
		change  func(*keys.Facts)
		want    string
	}{
		"the first":                    {change: staging, want: "Current default/shop, Staged another"},
		"one was lost":                 {[]keystest.KeyOption{lost}, staging, "Current default/shop, Staged lost, Staged another"},
		"two were lost":                {[]keystest.KeyOption{lost, next}, func(f *keys.Facts) { staging(f); f.JustFenced = true }, "Current default/shop, Staged next, Staged another"},
		"the fence alone drops none":   {[]keystest.KeyOption{lost, next}, func(f *keys.Facts) { f.JustFenced = true }, "Current default/shop, Staged lost, Staged next"},
		"the Secret holds the last":    {[]keystest.KeyOption{lost, next}, holding("next"), "Previous default/shop, Current next"},
		"the Secret holds another":     {[]keystest.KeyOption{lost, next}, holding("lost"), "Previous default/shop, Current lost"},
		"the Secret was deleted":       {[]keystest.KeyOption{next}, func(f *keys.Facts) { f.Secret = keys.ObservedSecret{Ownership: keys.SecretMissing} }, "Current default/shop, Staged next"},
		"it was deleted and made anew": {[]keystest.KeyOption{next}, func(f *keys.Facts) { holding("another")(f); f.Secret.JustIssued = true }, "Previous default/shop, Current another"},
		"the key was revoked":          {[]keystest.KeyOption{next, keystest.State(v1alpha1.KeyStateRevoked)}, func(*keys.Facts) {}, "Current default/shop"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := keystest.Key("shop", append([]keystest.KeyOption{keystest.Issued(keystest.Epoch)}, tc.options...)...)
			f := keys.Facts{Key: k, Account: keystest.NewAccount("acme", keystest.Slots(k)), Secret: keystest.SecretOf(k), Settings: keystest.Settings, Now: now}
			tc.change(&f)
			names := map[string]string{}
			for _, n := range []string{"default/shop", "next", "lost", "another"} {
				names[keystest.CredentialOf(n).SHA256] = n
			}
			got := ""
			for i, c := range keys.Describe(f).Credentials {
				if i > 0 {
					got += ", "
				}
				got += string(c.Role) + " " + names[c.SHA256]
			}
			if got != tc.want {
				t.Errorf("credentials are %s, want %s", got, tc.want)
			}
		})
	}
}

// staging sets the facts of a reconcile that staged a credential.
func staging(f *keys.Facts) { f.Staged, f.JustStaged = keystest.ObservedCredential("another"), true }

// holding sets the facts of a Secret that holds another credential.
func holding(name string) func(*keys.Facts) {
	return func(f *keys.Facts) { f.Secret = keystest.ObservedSecret(name) }
}

func TestKnownByAll(t *testing.T) {
	t.Parallel()
	c := usage.CredentialReference{KeyReference: usage.KeyReference{Namespace: "default", Name: "shop", UID: "uid"}, ID: "id"}
	another := c
	another.ID = "another"
	knows := keys.Replica{Reached: true, Synced: true, Known: map[usage.CredentialReference]bool{c: true}}
	for name, tc := range map[string]struct {
		live []keys.Replica
		want bool
	}{
		"no verifier":                   {nil, true},
		"all":                           {[]keys.Replica{knows, knows}, true},
		"one does not":                  {[]keys.Replica{knows, {Reached: true, Synced: true, Known: map[usage.CredentialReference]bool{another: true}}}, false},
		"one was not reached":           {[]keys.Replica{knows, {}}, false},
		"one gives no verdicts":         {[]keys.Replica{knows, {Reached: true, Known: knows.Known}}, false},
		"one has come far, and says no": {[]keys.Replica{knows, {Reached: true, Synced: true, KeysVersion: "999999"}}, false},
	} {
		if got := keys.KnownByAll(c, tc.live); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}

func TestCredentialReference_RoundTrips(t *testing.T) {
	t.Parallel()
	want := usage.CredentialReference{KeyReference: usage.KeyReference{Namespace: "default", Name: "shop", UID: "uid"}, ID: "id"}
	var got usage.CredentialReference
	if err := got.UnmarshalText([]byte(want.String())); err != nil || got != want {
		t.Errorf("%s becomes %v, %v", want, got, err)
	}
	for _, text := range []string{"", "a/b/c", "a/b/c/", "a/b//d", "/b/c/d", "a/b/c/d/e"} {
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}
