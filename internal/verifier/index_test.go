// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/usage"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// checkKey returns the verdict on a key, and the APIKey that it belongs to.
func checkKey(x *verifier.Index, name string) (verifier.Code, string) {
	in := verifier.Input{Key: material(name), ExtractResult: verifier.Valid, Client: home}
	v := x.Check(&in, hour)
	if id := v.Key(); id != nil {
		return v.Code, id.Namespace + "/" + id.Name
	}
	return v.Code, ""
}

func expect(t *testing.T, x *verifier.Index, name string, want verifier.Code) {
	t.Helper()
	if got, _ := checkKey(x, name); got != want {
		t.Errorf("%s: got %s, want %s", name, got, want)
	}
}

func complete(objects ...any) *verifier.Index {
	x := verifier.NewIndex()
	for _, o := range objects {
		switch o := o.(type) {
		case *v1alpha1.APIKey:
			x.PutKey(o)
		case *v1alpha1.Account:
			x.PutAccount(o)
		}
	}
	x.SetComplete()
	return x
}

func TestIndex_UpdatesKey(t *testing.T) {
	t.Parallel()
	x := complete(keystest.NewAccount("acme"))
	expect(t, x, "default/shop", verifier.Unknown)
	x.PutKey(issued())
	expect(t, x, "default/shop", verifier.Valid)
	x.PutKey(keystest.Key("shop", keystest.Issued(epoch), keystest.WithCredential("next", v1alpha1.RoleStaged, epoch)))
	expect(t, x, "default/shop", verifier.Valid)
	expect(t, x, "next", verifier.Valid)
	x.PutKey(keystest.Key("shop", keystest.WithCredential("next", v1alpha1.RoleCurrent, epoch), keystest.Observed(v1alpha1.StateActive)))
	expect(t, x, "default/shop", verifier.Unknown)
	expect(t, x, "next", verifier.Valid)
	x.DropKey(types.NamespacedName{Namespace: "default", Name: "shop"})
	expect(t, x, "next", verifier.Unknown)
	x.DropKey(types.NamespacedName{Namespace: "default", Name: "shop"}) // a second time
	if diff := cmp.Diff(verifier.Size{Accounts: 1}, x.Size()); diff != "" {
		t.Error(diff)
	}
}

// An account applies to all its keys at once, whether it is added before or after them.
func TestIndex_AccountAppliesToItsKeys(t *testing.T) {
	t.Parallel()
	x := complete(issued())
	expect(t, x, "default/shop", verifier.Inactive) // the account is unknown
	x.PutAccount(keystest.NewAccount("acme"))
	expect(t, x, "default/shop", verifier.Valid)
	x.PutAccount(keystest.NewAccount("acme", keystest.Suspended()))
	expect(t, x, "default/shop", verifier.AccountSuspended)
	x.PutAccount(keystest.NewAccount("acme"))
	expect(t, x, "default/shop", verifier.Valid)
	x.DropAccount("acme")
	expect(t, x, "default/shop", verifier.Inactive)
	x.PutAccount(keystest.NewAccount("acme"))
	expect(t, x, "default/shop", verifier.Valid)
	x.DropKey(types.NamespacedName{Namespace: "default", Name: "shop"})
	x.DropAccount("acme")
	if diff := cmp.Diff(verifier.Size{}, x.Size()); diff != "" {
		t.Error(diff)
	}
}

func TestIndex_NamespaceAppliesToItsKeys(t *testing.T) {
	t.Parallel()
	x := complete(policy(allowTeam), issued())
	expect(t, x, "default/shop", verifier.Inactive)
	x.PutNamespace("default", labels.Set{"team": "shop"})
	expect(t, x, "default/shop", verifier.Valid)
	x.PutNamespace("other", nil)
	x.PutAccount(policy(allowTeam)) // update the account
	expect(t, x, "default/shop", verifier.Valid)
	x.PutNamespace("default", labels.Set{"team": "blog"})
	expect(t, x, "default/shop", verifier.Inactive)
	x.PutNamespace("default", labels.Set{"team": "shop"})
	x.DropNamespace("default")
	expect(t, x, "default/shop", verifier.Inactive)
}

// After a gap in the watch, everything is listed again.
func TestIndex_ReplaceDropsMissingObjects(t *testing.T) {
	t.Parallel()
	x := complete(policy(allowTeam), keystest.NewAccount("globex"), issued(),
		keystest.Key("blog", keystest.Account("globex"), keystest.Issued(epoch)))
	x.PutNamespace("default", labels.Set{"team": "shop"})
	expect(t, x, "default/shop", verifier.Valid)
	expect(t, x, "default/blog", verifier.Valid)

	x.ReplaceKeys([]verifier.Entry{verifier.NewEntry(issued()), verifier.NewEntry(keystest.Key("new", keystest.Issued(epoch)))})
	expect(t, x, "default/shop", verifier.Valid)
	expect(t, x, "default/new", verifier.Valid)
	expect(t, x, "default/blog", verifier.Unknown)

	x.ReplaceNamespaces(map[string]labels.Set{"other": {"team": "shop"}})
	expect(t, x, "default/shop", verifier.Inactive)
	x.ReplaceAccounts([]*v1alpha1.Account{keystest.NewAccount("acme")})
	expect(t, x, "default/shop", verifier.Valid)
	if diff := cmp.Diff(verifier.Size{Keys: 2, Credentials: 2, Accounts: 1}, x.Size()); diff != "" {
		t.Error(diff)
	}
}

// Objects that are copied with their status have the same digests. The oldest key owns the digest, and the next oldest
// inherits it.
func TestIndex_OldestKeyOwnsSharedDigest(t *testing.T) {
	t.Parallel()
	copied := func(name string, age time.Duration) *v1alpha1.APIKey {
		return keystest.Key(name, keystest.Created(epoch.Add(-age)), keystest.WithCredential("shared", v1alpha1.RoleCurrent, epoch),
			keystest.Observed(v1alpha1.StateActive))
	}
	young, middle, old := copied("young", 0), copied("middle", time.Hour), copied("old", 2*time.Hour)
	drop := func(x *verifier.Index, k *v1alpha1.APIKey) {
		x.DropKey(types.NamespacedName{Namespace: k.Namespace, Name: k.Name})
	}
	for name, order := range map[string][]*v1alpha1.APIKey{
		"oldest first":   {old, middle, young},
		"youngest first": {young, middle, old},
		"mixed":          {middle, old, young},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := complete(keystest.NewAccount("acme"))
			for _, k := range order {
				x.PutKey(k)
				x.PutKey(k) // a second time
			}
			has := func(want string) {
				t.Helper()
				if _, holder := checkKey(x, "shared"); holder != want {
					t.Errorf("%q owns the digest, want %q", holder, want)
				}
			}
			has("default/old")
			drop(x, middle)
			has("default/old")
			drop(x, old)
			has("default/young")
			x.PutKey(old)
			has("default/old")
			drop(x, young)
			drop(x, old)
			has("")
			if diff := cmp.Diff(verifier.Size{Accounts: 1}, x.Size()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// If two keys have the same digest, it belongs to the key to which it was issued first, regardless of the age of the
// keys. A stolen key in a Secret that is adopted was issued to the thief later.
func TestIndex_FirstIssuedOwnsSharedDigest(t *testing.T) {
	t.Parallel()
	alice := keystest.Key("alice", keystest.Created(epoch), keystest.WithCredential("shared", v1alpha1.RoleCurrent, epoch),
		keystest.Observed(v1alpha1.StateActive))
	bob := func(issued time.Duration) *v1alpha1.APIKey {
		return keystest.Key("bob", keystest.Created(epoch.Add(-time.Hour)),
			keystest.WithCredential("shared", v1alpha1.RoleCurrent, epoch.Add(issued)), keystest.Observed(v1alpha1.StateActive))
	}
	off := keystest.Key("alice", keystest.Created(epoch), keystest.State(v1alpha1.KeyStateRevoked),
		keystest.WithCredential("shared", v1alpha1.RoleCurrent, epoch), keystest.Observed(v1alpha1.StateRevoked))
	killed := keystest.Key("alice", keystest.Created(epoch), keystest.WithCredential("fresh", v1alpha1.RoleCurrent, epoch.Add(time.Hour)),
		keystest.Revoked("shared", epoch), keystest.Observed(v1alpha1.StateActive))
	hers := keystest.Key("bob", keystest.Created(epoch.Add(-time.Hour)), keystest.Revoked("shared", epoch.Add(time.Minute)))
	for name, tc := range map[string]struct {
		list   []*v1alpha1.APIKey
		code   verifier.Code
		holder string
	}{
		"the thief's key is older":       {[]*v1alpha1.APIKey{alice, bob(time.Minute)}, verifier.Valid, "default/alice"},
		"the thief's key is added first": {[]*v1alpha1.APIKey{bob(time.Minute), alice}, verifier.Valid, "default/alice"},
		"revoked as a whole":             {[]*v1alpha1.APIKey{off, bob(time.Minute)}, verifier.Revoked, "default/alice"},
		"revoked after the theft":        {[]*v1alpha1.APIKey{alice, bob(time.Minute), off}, verifier.Revoked, "default/alice"},
		"revoked by revokeBefore":        {[]*v1alpha1.APIKey{bob(time.Minute), killed}, verifier.Revoked, "default/alice"},
		"the thief revokes the key":      {[]*v1alpha1.APIKey{alice, hers}, verifier.Valid, "default/alice"},
		"issued to the thief again later": {
			[]*v1alpha1.APIKey{bob(-time.Minute), alice, bob(time.Minute)},
			verifier.Valid,
			"default/alice",
		},
		"the first one gives it up": {
			[]*v1alpha1.APIKey{alice, bob(time.Minute), keystest.Key("alice")},
			verifier.Valid,
			"default/bob",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := complete(keystest.NewAccount("acme"))
			for _, k := range tc.list {
				x.PutKey(k)
			}
			if code, holder := checkKey(x, "shared"); code != tc.code || holder != tc.holder {
				t.Errorf("got %s of %q, want %s of %q", code, holder, tc.code, tc.holder)
			}
			for _, name := range []string{"alice", "bob"} {
				x.DropKey(types.NamespacedName{Namespace: "default", Name: name})
			}
			if diff := cmp.Diff(verifier.Size{Accounts: 1}, x.Size()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A revoked credential is refused as long as its APIKey exists, even if the status still lists it as a credential.
func TestIndex_RefusesRevokedCredentials(t *testing.T) {
	t.Parallel()
	x := complete(keystest.NewAccount("acme"), keystest.Key("shop", keystest.Issued(epoch), keystest.Revoked("leaked", epoch),
		keystest.Revoked("more", epoch)))
	expect(t, x, "default/shop", verifier.Valid)
	expect(t, x, "leaked", verifier.Revoked)
	expect(t, x, "more", verifier.Revoked)
	x.PutKey(keystest.Key("shop", keystest.Issued(epoch), keystest.Revoked("default/shop", epoch)))
	expect(t, x, "default/shop", verifier.Revoked)
	expect(t, x, "leaked", verifier.Unknown)
	x.DropKey(types.NamespacedName{Namespace: "default", Name: "shop"})
	expect(t, x, "default/shop", verifier.Unknown)
	if diff := cmp.Diff(verifier.Size{Accounts: 1}, x.Size()); diff != "" {
		t.Error(diff)
	}
}

func TestIndex_IgnoresInvalidDigests(t *testing.T) {
	t.Parallel()
	k := issued()
	k.Status.Credentials = append(k.Status.Credentials, v1alpha1.Credential{ID: "short", SHA256: "abcd"},
		v1alpha1.Credential{ID: "odd", SHA256: "nonsense"})
	x := complete(keystest.NewAccount("acme"), k)
	expect(t, x, "default/shop", verifier.Valid)
	if got := x.Size().Credentials; got != 1 {
		t.Errorf("got %d credentials", got)
	}
}

// The usage of a credential survives updates of its key, and ends with the credential.
func TestIndex_UsageSurvivesKeyUpdates(t *testing.T) {
	t.Parallel()
	minute := epoch.Add(30 * time.Minute)
	x := complete(keystest.NewAccount("acme"), keystest.Key("shop", previous(minute), keystest.Issued(epoch)),
		keystest.Key("unused", keystest.Issued(epoch)))
	use := func(name string, at time.Time) {
		in := verifier.Input{Key: material(name), ExtractResult: verifier.Valid, Client: home}
		x.Check(&in, at)
	}
	use("default/shop", epoch.Add(time.Minute+59*time.Second))
	use("before", epoch.Add(2*time.Minute))
	x.PutKey(keystest.Key("shop", previous(minute), keystest.Issued(epoch), keystest.Label("renamed")))
	use("default/shop", epoch.Add(3*time.Minute))
	use("before", minute) // the overlap has ended
	at := func(d time.Duration) *time.Time {
		t := epoch.Add(d)
		return &t
	}
	credential := func(name string) string { return keystest.CredentialOf(name).ID }
	want := []usage.KeyUsage{{Namespace: "default", Name: "shop", UID: "uid-shop", Credentials: []usage.CredentialUsage{
		{
			ID: credential("before"), LastUsed: at(2 * time.Minute), LastRefused: at(30 * time.Minute),
			Counts: map[string]uint64{"VALID": 1, "EXPIRED": 1},
		},
		{ID: credential("default/shop"), LastUsed: at(3 * time.Minute), Counts: map[string]uint64{"VALID": 2}},
	}}}
	if diff := cmp.Diff(want, x.Usage(time.Time{}, hour)); diff != "" {
		t.Error(diff)
	}
	want[0].Credentials = want[0].Credentials[:1]
	if diff := cmp.Diff(want, x.Usage(epoch.Add(4*time.Minute), hour)); diff != "" {
		t.Errorf("since the fourth minute: %s", diff)
	}
	if got := x.Usage(hour, hour); got != nil {
		t.Errorf("since an hour: %v", got)
	}
	x.PutKey(keystest.Key("shop", keystest.Issued(epoch)))
	if got := x.Usage(time.Time{}, hour); len(got) != 1 || len(got[0].Credentials) != 1 ||
		got[0].Credentials[0].ID != credential("default/shop") {
		t.Errorf("after the overlap: %v", got)
	}
	x.PutKey(keystest.Key("shop", keystest.UID("another"), keystest.WithCredential("fresh", v1alpha1.RoleCurrent, epoch),
		keystest.Status(func(s *v1alpha1.APIKeyStatus) {
			s.Credentials[0].IssuedAt = metav1.NewTime(epoch)
		})))
	if got := x.Usage(time.Time{}, hour); got != nil {
		t.Errorf("after the key was replaced: %v", got)
	}
}

// If the clock was ahead and is set back, the last use is reported as of the current minute, and does not change after
// that.
func TestIndex_UsageAfterClockIsSetBack(t *testing.T) {
	t.Parallel()
	x := complete(keystest.NewAccount("acme"), issued())
	lastUsed := func(now time.Time) time.Time { return *x.Usage(time.Time{}, now)[0].Credentials[0].LastUsed }
	in := verifier.Input{Key: material("default/shop"), ExtractResult: verifier.Valid, Client: home}
	x.Check(&in, epoch.Add(3*time.Hour))
	for _, later := range []time.Duration{10 * time.Minute, 11 * time.Minute, 20 * time.Minute} {
		if got, want := lastUsed(epoch.Add(later)), epoch.Add(10*time.Minute); !got.Equal(want) {
			t.Errorf("set back to minute 10, read after %s: last used at %s, want %s", later, got, want)
		}
	}
	x.Check(&in, epoch.Add(21*time.Minute))
	if got, want := lastUsed(epoch.Add(22*time.Minute)), epoch.Add(21*time.Minute); !got.Equal(want) {
		t.Errorf("used again: last used at %s, want %s", got, want)
	}
}

// A credential is known once the index holds a version of its key that lists it, regardless of the state of the key.
func TestIndex_Known(t *testing.T) {
	t.Parallel()
	next := usage.CredentialReference{
		KeyReference: usage.KeyReference{Namespace: "default", Name: "shop", UID: issued().UID},
		ID:           keystest.CredentialOf("next").ID,
	}
	staged := keystest.WithCredential("next", v1alpha1.RoleStaged, epoch)
	for name, tc := range map[string]struct {
		index *verifier.Index
		want  bool
	}{
		"a staged one":                    {complete(keystest.NewAccount("acme"), issued(staged)), true},
		"a version of the key without it": {complete(keystest.NewAccount("acme"), issued()), false},
		"a disabled key": {
			complete(keystest.NewAccount("acme"), issued(staged, keystest.State(v1alpha1.KeyStateInactive))),
			true,
		},
		"an unknown key":                   {complete(keystest.NewAccount("acme")), false},
		"another key of the same name":     {complete(keystest.NewAccount("acme"), issued(staged, keystest.UID("uid-again"))), false},
		"a key that became another's name": {complete(keystest.NewAccount("acme"), keystest.Key("other", staged)), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tc.index.Known([]usage.CredentialReference{next}); (len(got) == 1) != tc.want {
				t.Errorf("known are %v, want %t", got, tc.want)
			}
		})
	}
}

// A key is refused if no request can be accepted with it.
func TestIndex_Refused(t *testing.T) {
	t.Parallel()
	shop := usage.KeyReference{Namespace: "default", Name: "shop", UID: issued().UID}
	for name, tc := range map[string]struct {
		index *verifier.Index
		key   usage.KeyReference
		want  bool
	}{
		"a valid key":                  {complete(keystest.NewAccount("acme"), issued()), shop, false},
		"a disabled key":               {complete(keystest.NewAccount("acme"), issued(keystest.State(v1alpha1.KeyStateInactive))), shop, true},
		"one without an account":       {complete(issued()), shop, true},
		"one that has not been issued": {complete(keystest.NewAccount("acme"), keystest.Key("shop")), shop, true},
		"an unknown key":               {complete(keystest.NewAccount("acme")), shop, true},
		"another one of the same name": {complete(keystest.NewAccount("acme"), issued(keystest.UID("uid-again"))), shop, true},
		"one with a whitelist": {complete(keystest.NewAccount("acme"),
			modified(issued(), func(k *v1alpha1.APIKey) { k.Spec.IPWhitelist = []string{"10.0.0.0/8"} })), shop, false},
		"one valid and one expired credential": {complete(keystest.NewAccount("acme"), issued(previous(epoch))), shop, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tc.index.Refused([]usage.KeyReference{tc.key}, hour); (len(got) == 1) != tc.want {
				t.Errorf("refused are %q, want %t", got, tc.want)
			}
		})
	}
}
