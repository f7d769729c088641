// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// squatted returns a simulation in which keys were issued, one per second, under an account whose spec no user has
// written.
func squatted(names ...string) *sim {
	s := newSim(func(int, string) int { return 0 }, rules{}, 1)
	for _, name := range names {
		_ = s.w.createKey(keystest.Key(name, keystest.Namespace("blog")))
		s.w.now = s.w.now.Add(time.Second)
	}
	s.turn(s.managers[0])
	s.turn(s.managers[0])
	return s
}

// states returns the state of each key, and the reason of its condition Accepted.
func (s *sim) states() map[string]string {
	got := map[string]string{}
	for _, k := range s.w.keys() {
		got[k.Name] = string(k.Status.State) + " " + reasonOf(k, v1alpha1.ConditionAccepted)
	}
	return got
}

func (s *sim) expect(t *testing.T, want map[string]string) {
	t.Helper()
	for range 4 {
		s.turn(s.managers[0])
	}
	if s.w.broken != nil {
		t.Fatalf("%v\n%s", s.w.broken, s.w.story())
	}
	if diff := cmp.Diff(want, s.states()); diff != "" {
		t.Fatalf("(-want +got):\n%s\n%s", diff, s.w.story())
	}
}

func (s *sim) write(change func(*v1alpha1.AccountSpec)) { s.w.changeAccount("acme", change) }

// policies lists policies that refuse a key with an empty spec, and how to fix the key.
var policies = map[string]struct {
	policy func(*v1alpha1.AccountSpec)
	mend   func(*v1alpha1.APIKeySpec)
}{
	v1alpha1.ReasonExpirationRequired: {
		func(a *v1alpha1.AccountSpec) {
			a.ExpirationPolicy = &v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationRequired}
		},
		func(k *v1alpha1.APIKeySpec) { k.Expiration = "2026-12-01" },
	},
	v1alpha1.ReasonIPWhitelistRequired: {
		func(a *v1alpha1.AccountSpec) { a.IPWhitelistPolicy = v1alpha1.IPWhitelistRequired },
		func(k *v1alpha1.APIKeySpec) { k.IPWhitelist = []string{"192.0.2.7"} },
	},
	v1alpha1.ReasonScopeNotAllowed: {
		func(a *v1alpha1.AccountSpec) {
			a.KeyDefaults, a.AllowedScopes = &v1alpha1.KeyDefaults{Scopes: []string{"admin"}}, []string{"orders:*"}
		},
		func(k *v1alpha1.APIKeySpec) { k.Scopes = []string{"orders:read"} },
	},
}

// A tenant creates keys of an account before it exists. Then a user writes it.
func TestUnwritten_FirstPolicyAppliesToIssuedKeys(t *testing.T) {
	t.Parallel()
	for reason, tc := range policies {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			s := squatted("bob")
			s.expect(t, map[string]string{"bob": "Active Accepted"})
			s.write(tc.policy)
			s.expect(t, map[string]string{"bob": "Pending " + reason})
			if n := len(s.w.account("acme").Status.Slots); n != 0 {
				t.Errorf("%d slots are held by a key that is not accepted", n)
			}
			s.w.changeKey("blog/bob", tc.mend)
			s.expect(t, map[string]string{"bob": "Active Accepted"})
		})
	}
}

// Later policies do not apply to keys that an earlier policy accepted.
func TestUnwritten_LaterPoliciesSpareAcceptedKeys(t *testing.T) {
	t.Parallel()
	s := squatted("bob", "eva")
	s.write(func(a *v1alpha1.AccountSpec) { a.DisplayName = "Acme" })
	s.expect(t, map[string]string{"bob": "Active Accepted", "eva": "Active Accepted"})
	s.write(func(a *v1alpha1.AccountSpec) {
		setLimit(a, 1)
		a.ExpirationPolicy = &v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationRequired}
		a.IPWhitelistPolicy = v1alpha1.IPWhitelistRequired
	})
	s.expect(t, map[string]string{"bob": "Active Accepted", "eva": "Active Accepted"})
}

func TestUnwritten_YoungestKeysExceedLimit(t *testing.T) {
	t.Parallel()
	s := squatted("a", "b", "c")
	s.write(func(a *v1alpha1.AccountSpec) { setLimit(a, 1) })
	s.expect(t, map[string]string{"a": "Active Accepted", "b": "Pending LimitReached", "c": "Pending LimitReached"})
	s.write(func(a *v1alpha1.AccountSpec) { setLimit(a, 2) })
	s.expect(t, map[string]string{"a": "Active Accepted", "b": "Active Accepted", "c": "Pending LimitReached"})
	s.write(func(a *v1alpha1.AccountSpec) { setLimit(a, 0) })
	s.expect(t, map[string]string{"a": "Active Accepted", "b": "Active Accepted", "c": "Pending LimitReached"})
}

// Keys that the policy refuses do not keep slots from keys that comply with it.
func TestUnwritten_RefusedKeysLoseSlots(t *testing.T) {
	t.Parallel()
	s := squatted("a", "b", "c", "d", "e")
	_ = s.w.createKey(keystest.Key("alice", keystest.Namespace("shop")))
	s.expect(t, map[string]string{
		"a": "Active Accepted", "b": "Active Accepted", "c": "Active Accepted", "d": "Active Accepted", "e": "Active Accepted", "alice": "Pending LimitReached",
	})
	s.write(func(a *v1alpha1.AccountSpec) {
		setLimit(a, 1)
		a.AllowedNamespaces = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
	})
	no := "Pending NamespaceNotAllowed"
	s.expect(t, map[string]string{"a": no, "b": no, "c": no, "d": no, "e": no, "alice": "Active Accepted"})
}

// This does not apply to an account that a user created, nor to keys that an earlier version of the manager accepted.
func TestUnwritten_OnlyAccountsOfTheManager(t *testing.T) {
	t.Parallel()
	s := newSim(func(int, string) int { return 0 }, rules{}, 1)
	_ = s.w.createAccount(keystest.NewAccount("acme"))
	_ = s.w.createKey(keystest.Key("a"))
	_ = s.w.createKey(keystest.Key("b"))
	s.expect(t, map[string]string{"a": "Active Accepted", "b": "Active Accepted"})
	s.write(func(a *v1alpha1.AccountSpec) { setLimit(a, 1); a.IPWhitelistPolicy = v1alpha1.IPWhitelistRequired })
	s.expect(t, map[string]string{"a": "Active Accepted", "b": "Active Accepted"})
}

// The slots are sorted by age once, before any key is accepted because of its position.
func TestUnwritten_RecordIsOrderedOnce(t *testing.T) {
	t.Parallel()
	old := keystest.Key("old", keystest.Issued(keystest.Epoch), keystest.Status(func(s *v1alpha1.APIKeyStatus) { s.IPRestriction = "" }))
	young := keystest.Key("young", keystest.Created(keystest.Epoch.Add(time.Hour)), keystest.Issued(keystest.Epoch),
		keystest.Status(func(s *v1alpha1.APIKeyStatus) { s.IPRestriction = "" }))
	for name, tc := range map[string]struct {
		account keystest.AccountOption
		first   string
	}{
		"it is unwritten":  {keystest.Written(1, 1), "young"},
		"it is written":    {keystest.Written(2, 1), "old"},
		"it was recorded":  {keystest.Written(2, 2), "young"},
		"it changed again": {keystest.Written(3, 2), "young"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := keystest.NewAccount("acme", keystest.CreatedByManager(), keystest.MaxKeys(1), keystest.Slots(young, old), tc.account)
			got := keys.DescribeAccount(keys.AccountFacts{Account: a, Keys: []*v1alpha1.APIKey{young, old}, Settings: keystest.Settings, Now: keystest.Epoch})
			if got.Slots[0].Name != tc.first || len(got.Slots) != 2 {
				t.Errorf("the record is %v", got.Slots)
			}
			if name == "it is written" { // until the record says so, no key knows its place
				f := keys.Facts{Key: old, Account: a, Secret: keystest.SecretOf(old), Settings: keystest.Settings, Now: keystest.Epoch.Add(2 * time.Hour)}
				if after := keys.Describe(f); after.State != v1alpha1.StateActive || after.IPRestriction != "" {
					t.Errorf("it is %s, %q", after.State, after.IPRestriction)
				}
			}
		})
	}
}

// A user writes a limit at any time after the manager created the account.
func TestSimulation_LateLimitHolds(t *testing.T) {
	t.Parallel()
	for _, counting := range []v1alpha1.Counting{v1alpha1.CountAll, v1alpha1.CountUsable} {
		t.Run(string(counting), func(t *testing.T) {
			t.Parallel()
			refused := 0
			property := func(t *rapid.T) {
				r := rules{late: true, counting: counting, limit: rapid.IntRange(0, 3).Draw(t, "limit")}
				s := newSim(chanceOf(t), r, rapid.IntRange(1, 3).Draw(t, "managers"))
				s.accounts, s.free = []string{"acme"}, false
				users := slices.DeleteFunc(s.users(), func(a action) bool { return a.name == "suspend" || a.name == "resume" }) // they write the account
				s.act(t, append(s.machinery(), s.swarm(users)...), 80)
				if s.w.account("acme") == nil {
					return
				}
				s.write(func(a *v1alpha1.AccountSpec) {
					setLimit(a, int32(r.limit))
					a.Limits.Counting = counting
				})
				s.act(t, append(s.machinery(), s.swarm(s.users())...), 80)
				if err := s.settle(); err != nil {
					s.fatal(t, err)
				}
				active := slices.DeleteFunc(s.w.keys(), func(k *v1alpha1.APIKey) bool { return k.Status.State != v1alpha1.StateActive })
				if len(active) > r.limit {
					s.fatal(t, fmt.Errorf("%d keys are Active over a limit of %d", len(active), r.limit))
				}
				for _, k := range s.w.keys() {
					if keys.Issued(k) && reasonOf(k, v1alpha1.ConditionAccepted) == v1alpha1.ReasonLimitReached {
						refused++
					}
				}
			}
			for range 25 { // few runs reach the limit, and the property needs one that does
				if rapid.Check(t, property); refused > 0 {
					break
				}
			}
			if refused == 0 {
				t.Error("no key was ever above the limit: the property says nothing")
			}
		})
	}
}
