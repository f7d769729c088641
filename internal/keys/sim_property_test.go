// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// chanceOf chooses uniformly. The ranges of rapid prefer small numbers, and would rarely get far into a long list.
func chanceOf(t *rapid.T) chance {
	return func(n int, what string) int {
		if n == 1 {
			return 0
		}
		return rapid.Custom(func(t *rapid.T) int {
			picked := 0
			for range bits.Len(uint(n-1)) + 2 {
				picked <<= 1
				if rapid.Bool().Draw(t, "bit") {
					picked++
				}
			}
			return picked % n
		}).Draw(t, what)
	}
}

// TestSimulation_LimitHolds never changes limits, so that they must hold after every single write.
func TestSimulation_LimitHolds(t *testing.T) {
	t.Parallel()
	for _, counting := range []v1alpha1.Counting{v1alpha1.CountAll, v1alpha1.CountUsable} {
		t.Run(string(counting), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				r := rules{strict: true, counting: counting, limit: rapid.IntRange(0, 3).Draw(t, "limit")}
				s := newSim(chanceOf(t), r, rapid.IntRange(1, 3).Draw(t, "managers"))
				a := keystest.NewAccount("acme", keystest.MaxKeys(int32(r.limit)), keystest.Counting(counting))
				a.Spec.ImportPolicy = pick(s.chance, "imports", v1alpha1.ImportForbid, v1alpha1.ImportAllow)
				_ = s.w.createAccount(a)
				live(t, s, 120)
			})
		})
	}
}

// TestSimulation_Converges changes policies too.
func TestSimulation_Converges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		live(t, newSim(chanceOf(t), rules{}, rapid.IntRange(1, 3).Draw(t, "managers")), 120)
	})
}

func live(t *rapid.T, s *sim, steps int) {
	t.Helper()
	s.act(t, append(s.machinery(), s.swarm(s.users())...), steps)
	if err := s.settle(); err != nil {
		s.fatal(t, err)
	}
}

// act runs some actions, and stops when a rule is violated.
func (s *sim) act(t *rapid.T, actions []action, most int) {
	t.Helper()
	for range rapid.IntRange(most/4, most).Draw(t, "steps") {
		s.step(actions)
		if s.w.broken != nil {
			s.fatal(t, s.w.broken)
		}
	}
}

func (s *sim) fatal(t *rapid.T, err error) {
	t.Helper()
	t.Logf("what happened:\n%s", s.w.story())
	t.Fatal(err)
}

// TestSimulation_OldestFirst only creates keys: no waiting key may be older, by a second or more, than an admitted one.
func TestSimulation_OldestFirst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := rules{strict: true, counting: v1alpha1.CountAll, limit: rapid.IntRange(1, 3).Draw(t, "limit")}
		s := newSim(chanceOf(t), r, rapid.IntRange(1, 3).Draw(t, "managers"))
		s.names, s.labels = []string{"shop/a", "shop/b", "shop/c", "blog/a", "blog/b", "blog/c"}, []string{""}
		_ = s.w.createAccount(keystest.NewAccount("acme", keystest.MaxKeys(int32(r.limit))))
		s.act(t, append(s.machinery(), action{"create", 30, s.createKey}), 60)
		if err := s.settle(); err != nil {
			s.fatal(t, err)
		}
		var youngest, oldest time.Time // of the admitted keys, of the waiting keys
		for _, k := range s.w.keys() {
			created := k.CreationTimestamp.Time
			if keys.Issued(k) && created.After(youngest) {
				youngest = created
			}
			if waits := reasonOf(k, v1alpha1.ConditionAccepted) == v1alpha1.ReasonLimitReached; waits && (oldest.IsZero() || created.Before(oldest)) {
				oldest = created
			}
		}
		if !oldest.IsZero() && youngest.After(oldest) {
			s.fatal(t, fmt.Errorf("a key of %s was served, one of %s waits", youngest, oldest))
		}
	})
}

// TestDescribe_IsIdempotent describes arbitrary facts, likely or not.
func TestDescribe_IsIdempotent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := anyFacts(chanceOf(t))
		if err := checkDescribe(f); err != nil {
			t.Fatalf("%v\nof the key %+v\nheld %+v", err, f.Key, f.Secret)
		}
		after := keys.Describe(f)
		if !equality.Semantic.DeepEqual(f.Key.Status, after) {
			checkTruth(t, f, after)
		}
		later := f
		later.Now = f.Now.Add(time.Second)
		if f.Secret.JustIssued || !equality.Semantic.DeepEqual(f.Key.Status, after) {
			return
		}
		if again := keys.Describe(later); again.State == after.State && texts(again) != texts(after) {
			t.Fatalf("a second later the same state has another message: %s, then %s", texts(after), texts(again))
		}
	})
}

func texts(s v1alpha1.APIKeyStatus) string {
	all := ""
	for _, c := range s.Conditions {
		all += c.Type + ": " + c.Message + "\n"
	}
	return all
}

// checkTruth checks a status against the facts from which it was made.
func checkTruth(t *rapid.T, f keys.Facts, after v1alpha1.APIKeyStatus) {
	t.Helper()
	if err := checkStatus(after, nil); err != nil {
		t.Fatal(err)
	}
	c := currentOf(after)
	if ready := meta.IsStatusConditionTrue(after.Conditions, v1alpha1.ConditionReady); ready && after.State == v1alpha1.StateActive {
		switch {
		case f.Secret.Ownership != keys.SecretOwned || c == nil || f.Secret.Current.SHA256 != c.SHA256:
			t.Fatalf("ready, and the Secret holds something else: %+v, %+v", f.Secret, after)
		case f.Err != nil:
			t.Fatalf("ready, and a step failed")
		}
	}
	if before := currentOf(f.Key.Status); c != nil && (before == nil || before.SHA256 != c.SHA256) {
		switch {
		case c.SHA256 != f.Secret.Current.SHA256 || f.Secret.Ownership != keys.SecretOwned:
			t.Fatalf("a credential out of nowhere: %+v", c)
		case !f.Secret.JustIssued && of(f.Key.Status, c.SHA256) == nil && (before != nil || !f.Secret.IsOffered || f.Account.Spec.ImportPolicy != v1alpha1.ImportAllow):
			t.Fatalf("a credential was taken from the Secret that was not offered, or in place of a known one")
		case f.Key.Spec.State == v1alpha1.KeyStateRevoked:
			t.Fatalf("a revoked key got a credential")
		}
	}
	if after.State == v1alpha1.StateActive && f.Key.Spec.State != v1alpha1.KeyStateActive {
		t.Fatalf("Active against the spec %s", f.Key.Spec.State)
	}
	k := f.Key.DeepCopy()
	k.Status = after
	if keys.StatusDescribesSecret(k) && after.SecretRef.ResourceVersion != "" {
		want, got := f.Secret, keys.SecretFromStatus(k)
		want.JustIssued, want.IsOffered = false, false
		if after.State == v1alpha1.StateRevoked && want.HoldsCredential() {
			t.Fatalf("the status of a revoked key remembers a Secret that holds %+v", want)
		}
		if got.HasPrevious && !want.HasPrevious { // the material was lost, and the credential stays valid
			got.HasPrevious = false
		}
		if got != want {
			t.Fatalf("the status remembers %+v of a Secret that holds %+v", got, want)
		}
	}
}

// anyFacts generates the facts of a reconcile: a key in any state, an account with any policy, a Secret with any owner.
func anyFacts(c chance) keys.Facts {
	k := keystest.Key("shop", keystest.Label(pick(c, "label", "", "x")), keystest.Generation(3),
		keystest.State(pick(c, "spec", v1alpha1.KeyStateActive, v1alpha1.KeyStateActive, v1alpha1.KeyStateInactive, v1alpha1.KeyStateRevoked)),
		keystest.Expiration(pick(c, "expiration", "", "2026-01-10", "2026-01-11", "2099-01-01", "nonsense")))
	if c(2, "issued") == 0 {
		keystest.Issued(keystest.Epoch)(k)
		k.Status.State = pick(c, "state", v1alpha1.StateActive, v1alpha1.StateActive, v1alpha1.StateInactive, v1alpha1.StateExpired, v1alpha1.StatePending)
	} else {
		k.Status.State = pick(c, "state", "", v1alpha1.StatePending, v1alpha1.StateInactive)
	}
	if k.Spec.State == v1alpha1.KeyStateRevoked && c(2, "revoked before") == 0 {
		k.Status.State = v1alpha1.StateRevoked
	}
	k.Status.ReleasedGrant = pick(c, "released", "", "", "9", "10", "11")
	f := keys.Facts{
		Key: k, Now: keystest.Epoch.Add(pick(c, "age", 0, 4*time.Second, 5*time.Second, 24*time.Hour, 90*24*time.Hour)),
		Secret: keys.ObservedSecret{Ownership: pick(c, "possession", keys.SecretMissing, keys.SecretForeign, keys.SecretOrphaned), ResourceVersion: "7"},
		Err:    pick(c, "err", nil, nil, error(&keys.PublicError{Message: "Could not write", Err: errDown}), errDown),
	}
	if c(2, "owned") == 0 {
		f.Secret = pick(c, "held", keystest.SecretOf(k), keystest.SecretOf(k), keystest.ObservedSecret("another"), keys.ObservedSecret{Ownership: keys.SecretOwned, ResourceVersion: "7"},
			keys.ObservedSecret{Ownership: keys.SecretOwned, ResourceVersion: "7", Current: keys.ObservedCredential{SHA256: strings.Repeat("a", 64)}})
		f.Secret.JustIssued = f.Secret.Current == keystest.ObservedCredential("another") && k.Spec.State != v1alpha1.KeyStateRevoked && c(2, "minted") == 0
		f.Secret.Drifted = c(4, "drifted") == 0
		anyRotation(c, &f)
	}
	if c(4, "contested") == 0 {
		f.Repairs = anyRepairs(c, &f)
	}
	f.Settings = keystest.Settings
	f.Settings.RequireAccount = c(4, "require account") == 0
	if c(8, "account") > 0 {
		f.Account = anyAccount(c, k)
	}
	if other := keystest.Key("other", keystest.Label(k.Spec.Label), keystest.Created(keystest.Epoch.Add(pick(c, "other's age", -time.Hour, time.Hour)))); k.Spec.Label != "" && c(2, "sibling") == 0 {
		f.Siblings = append(f.Siblings, other)
	}
	return f
}

// anyRepairs generates a contest.
func anyRepairs(c chance, f *keys.Facts) keys.Repairs {
	r := keys.Repairs{Generation: f.Key.Generation, FoundChangeAt: f.Now.Add(-pick(c, "disturbed", 0, time.Second, time.Minute, time.Hour))}
	for range c(4, "repairs") {
		r.Times = append(r.Times, f.Now.Add(-pick(c, "repaired", 0, time.Second, 2*time.Minute)))
	}
	if c(2, "said") == 0 {
		meta.SetStatusCondition(&f.Key.Status.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSecretContested, Message: "Another client keeps changing Secret shop",
			ObservedGeneration: f.Key.Generation - int64(c(2, "generation")), LastTransitionTime: metav1.NewTime(f.Now.Add(-pick(c, "since", 0, time.Minute, 100*time.Minute))),
		})
	}
	return r
}

// anyRotation generates a rotation at any of its steps.
func anyRotation(c chance, f *keys.Facts) {
	k := f.Key
	keystest.Rotation(pick(c, "interval", v1alpha1.Duration(""), "1h", "720h"), pick(c, "overlap", v1alpha1.Duration(""), "0s", "1h"))(k)
	if c(4, "killed") == 0 {
		keystest.RevokedBefore(f.Now.Add(pick(c, "before", -48*time.Hour, 0, time.Hour)))(k)
	}
	policy := pick(c, "previous key", "", v1alpha1.PreviousKeyOmit, v1alpha1.PreviousKeyInclude)
	keystest.PreviousKey(policy)(k)
	f.Secret.HasPrevious = c(3, "previous") == 0
	f.Secret.Drifted = f.Secret.Drifted || f.Secret.HasPrevious && policy != v1alpha1.PreviousKeyInclude
	if keys.Issued(k) && c(2, "known previous") == 0 {
		keystest.WithCredential("the one before", v1alpha1.RolePrevious, keystest.Epoch.Add(-time.Hour))(k)
		k.Status.Credentials[len(k.Status.Credentials)-1].NotAfter = &metav1.Time{Time: keystest.Epoch.Add(pick(c, "end", time.Hour, 23*time.Hour, 48*time.Hour))}
	}
	if keys.Issued(k) && c(2, "known staged") == 0 {
		keystest.WithCredential("next", v1alpha1.RoleStaged, keystest.Epoch.Add(time.Second))(k)
	}
	switch {
	case f.Secret.JustIssued:
		f.Secret.HasPrevious = false
	case c(4, "promoted") == 0:
		f.Secret.Current = keystest.ObservedCredential("next")
	case keys.Issued(k):
		f.Staged = pick(c, "staged", keys.ObservedCredential{}, keystest.ObservedCredential("next"), keystest.ObservedCredential("another next"))
		f.JustStaged = f.Staged == keystest.ObservedCredential("another next")
		f.JustFenced = f.JustStaged && c(2, "fenced") == 0
		f.Propagated = c(2, "propagated") == 0
	}
}

func anyAccount(c chance, k *v1alpha1.APIKey) *v1alpha1.Account {
	a := keystest.NewAccount("acme", keystest.MaxKeys(int32(c(3, "limit"))),
		keystest.Counting(pick(c, "counting", v1alpha1.CountAll, v1alpha1.CountUsable)))
	for _, policy := range []func(*v1alpha1.AccountSpec){
		func(a *v1alpha1.AccountSpec) { a.State = v1alpha1.AccountSuspended },
		func(a *v1alpha1.AccountSpec) { a.TimeZone = "Mars/Base" },
		func(a *v1alpha1.AccountSpec) { a.LabelPolicy = v1alpha1.LabelShared },
		func(a *v1alpha1.AccountSpec) { a.Limits = &v1alpha1.Limits{Unlimited: v1alpha1.SwitchEnabled} },
		func(a *v1alpha1.AccountSpec) {
			a.ExpirationPolicy = &v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationRequired}
		},
		func(a *v1alpha1.AccountSpec) { a.IPWhitelistPolicy = v1alpha1.IPWhitelistRequired },
	} {
		if c(6, "policy") == 0 {
			policy(&a.Spec)
		}
	}
	if a.Spec.Limits.Counting == v1alpha1.CountAll {
		k.Status.ReleasedGrant = "" // of a time with another policy; TestAdmit has it
	}
	if c(2, "slot") == 0 {
		slot := keystest.SlotOf(k, pick(c, "grant", "9", "10", "11"))
		slot.Label = pick(c, "recorded label", k.Spec.Label, "", "x")
		a.Status.Slots = append(a.Status.Slots, slot)
	}
	if c(2, "other's slot") == 0 {
		a.Status.Slots = append(a.Status.Slots, keystest.SlotOf(keystest.Key("other", keystest.Label(pick(c, "other's label", "", "x"))), "5"))
	}
	return a
}

// A key that has expired stays expired, and does not expire before its time.
func TestDecide_ExpiryIsMonotone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom([]string{"UTC", "Europe/Madrid", "Pacific/Apia", "America/Havana", "Asia/Beirut"}).Draw(t, "zone")
		day := time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, rapid.IntRange(0, 9000).Draw(t, "day"))
		k := keystest.Key("shop", keystest.Created(day.AddDate(-1, 0, 0)), keystest.Expiration(day.Format(time.DateOnly)), keystest.Issued(day.AddDate(-1, 0, 0)))
		f := keys.Facts{Key: k, Account: keystest.NewAccount("acme", keystest.Zone(zone), keystest.Slots(k)), Secret: keystest.SecretOf(k), Settings: keystest.Settings}
		var offsets []time.Duration
		for range 10 {
			offsets = append(offsets, time.Duration(rapid.IntRange(-50*3600, 50*3600).Draw(t, "offset"))*time.Second)
		}
		slices.Sort(offsets)
		expired := false
		for _, offset := range offsets {
			f.Now = day.Add(offset)
			is := keys.Describe(f).State == v1alpha1.StateExpired
			if expired && !is {
				t.Fatalf("at %s in %s the key of %s has come back", f.Now, zone, k.Spec.Expiration)
			}
			if !is {
				then := f
				then.Now = keys.NextCheck(f)
				if !then.Now.After(f.Now) || keys.Describe(then).State != v1alpha1.StateExpired {
					t.Fatalf("at %s the next check is not at the moment of expiry but at %s", f.Now, then.Now)
				}
			}
			expired = is
		}
	})
}
