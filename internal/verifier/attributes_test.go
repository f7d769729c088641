// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

type entries = map[string]v1alpha1.MetadataValue

func requests(n int32) []v1alpha1.RateLimit {
	return []v1alpha1.RateLimit{{Name: "requests", Requests: new(n), Unit: v1alpha1.RateLimitMinute}}
}

// withAttributes returns a key with metadata and rate limits of its own.
func withAttributes(metadata entries, limits []v1alpha1.RateLimit) *v1alpha1.APIKey {
	k := issued()
	k.Spec.Metadata, k.Spec.RateLimits = metadata, limits
	return k
}

// identityOf returns the identity of the key default/shop.
func identityOf(x *verifier.Index) *verifier.Identity {
	v := x.Check(&verifier.Input{Key: material("default/shop"), ExtractResult: verifier.Valid, Client: home}, hour)
	return v.Key()
}

// Whatever the order of changes of a key and its account, the identity has what keys.EffectiveMetadata and
// keys.EffectiveRateLimits return for the current objects.
func TestIdentity_AttributesFollowKeyAndAccount(t *testing.T) {
	t.Parallel()
	metadata := []entries{nil, {"tier": "gold"}, {"tier": "basic", "team": "shop"}, {"tier": ""}}
	limits := [][]v1alpha1.RateLimit{nil, requests(10), requests(0), {{Name: "mails", Requests: ptr.To[int32](7), Unit: v1alpha1.RateLimitDay}}}
	x := complete(keystest.NewAccount("acme"), issued())
	key, account := withAttributes(nil, nil), keystest.NewAccount("acme")
	check := func(about string) {
		t.Helper()
		id := identityOf(x)
		wanted := keys.EffectiveMetadata(key.Spec.Metadata, account.Spec.Metadata)
		got := map[string]string{}
		for _, entry := range id.Metadata {
			got[entry.Name] = entry.Value
		}
		if !maps.Equal(wanted, got) || !slices.IsSortedFunc(id.Metadata, func(a, b verifier.MetadataEntry) int {
			if a.Name < b.Name {
				return -1
			}
			return 1
		}) {
			t.Errorf("%s: the metadata is %v, want %v", about, id.Metadata, wanted)
		}
		if diff := cmp.Diff(keys.EffectiveRateLimits(key.Spec.RateLimits, account.Spec.RateLimits), id.RateLimits); diff != "" {
			t.Errorf("%s: the rate limits differ (-want +got):\n%s", about, diff)
		}
		if id.Plan != account.Spec.Plan {
			t.Errorf("%s: the plan is %q, want %q", about, id.Plan, account.Spec.Plan)
		}
	}
	for i := range len(metadata) * len(limits) {
		for j := range len(metadata) * len(limits) {
			key = withAttributes(metadata[i%len(metadata)], limits[i/len(metadata)])
			x.PutKey(key)
			check(fmt.Sprintf("key %d", i))
			account = keystest.NewAccount("acme", keystest.Policy(func(s *v1alpha1.AccountSpec) {
				s.Metadata, s.RateLimits, s.Plan = metadata[j%len(metadata)], limits[j/len(metadata)], []string{"", "pro"}[j%2]
			}))
			x.PutAccount(account)
			check(fmt.Sprintf("key %d and account %d", i, j))
			check(fmt.Sprintf("key %d and account %d again", i, j))
		}
	}
}

// The external ID of an account may move to an older account, which replaces the policies of both.
func TestIdentity_AttributesSurviveMoveOfExternalID(t *testing.T) {
	t.Parallel()
	spec := func(s *v1alpha1.AccountSpec) {
		s.ExternalID, s.Plan, s.Metadata = "4711", "pro", entries{"tier": "gold"}
	}
	x := complete(keystest.NewAccount("acme", keystest.Policy(spec)), withAttributes(entries{"team": "shop"}, nil))
	older := keystest.NewAccount("older", keystest.Policy(func(s *v1alpha1.AccountSpec) { s.ExternalID = "4711" }))
	older.CreationTimestamp.Time = older.CreationTimestamp.Add(-1e9)
	x.PutAccount(older)
	id := identityOf(x)
	if id.ExternalID != "" || id.Plan != "pro" || id.Metadata.Get("tier") != "gold" || id.Metadata.Get("team") != "shop" {
		t.Errorf("got %+v", id)
	}
}

// A verdict on a key with metadata allocates nothing, and its identity nothing but itself.
func TestIdentity_AllocatesAttributesOnce(t *testing.T) {
	x := complete(keystest.NewAccount("acme", keystest.Policy(func(s *v1alpha1.AccountSpec) {
		s.Metadata, s.RateLimits = entries{"tier": "gold"}, requests(100)
	})), withAttributes(entries{"team": "shop"}, requests(10)))
	in := verifier.Input{Key: material("default/shop"), ExtractResult: verifier.Valid, Client: home}
	var id *verifier.Identity
	if n := testing.AllocsPerRun(100, func() {
		v := x.Check(&in, hour)
		id = v.Key()
	}); n > 1 {
		t.Errorf("%g allocations", n)
	}
	if len(id.Metadata) != 2 {
		t.Errorf("got %+v", id)
	}
}

// A change of one attribute of an account applies to the next verdict. A write that changes none of them computes nothing.
func TestIdentity_AttributesAreKeptWhileEqual(t *testing.T) {
	t.Parallel()
	spec := func(change func(*v1alpha1.AccountSpec)) *v1alpha1.Account {
		return keystest.NewAccount("acme", keystest.Policy(func(s *v1alpha1.AccountSpec) {
			s.Plan, s.Metadata, s.RateLimits = "pro", entries{"tier": "gold"}, requests(100)
			change(s)
		}))
	}
	unchanged := spec(func(*v1alpha1.AccountSpec) {})
	x := complete(unchanged, withAttributes(entries{"team": "shop"}, requests(50)))
	before := identityOf(x)
	for about, changed := range map[string]*v1alpha1.Account{
		"plan":       spec(func(s *v1alpha1.AccountSpec) { s.Plan = "free" }),
		"metadata":   spec(func(s *v1alpha1.AccountSpec) { s.Metadata["tier"] = "basic" }),
		"rate limit": spec(func(s *v1alpha1.AccountSpec) { s.RateLimits = requests(10) }),
	} {
		x.PutAccount(changed)
		if cmp.Equal(before, identityOf(x)) {
			t.Errorf("the identity does not follow a change of the %s", about)
		}
		x.PutAccount(unchanged)
		before = identityOf(x)
		x.PutAccount(unchanged.DeepCopy()) // as after a write of the status
		if after := identityOf(x); !cmp.Equal(before, after) || &before.Metadata[0] != &after.Metadata[0] {
			t.Errorf("the attributes were computed again: %+v, then %+v", before, after)
		}
	}
}

// A key that was used once keeps none of the policies that its account had since in memory.
func TestIndex_IdleKeysKeepNoPolicies(t *testing.T) {
	const total, scopes, most = 500, 200, 2 << 20
	x := complete()
	for i := range total {
		k := newMember(i)
		k.Spec.Account, k.Spec.Metadata = "acme", entries{"team": "shop"}
		x.PutKey(k)
	}
	before := heapSize()
	for i := range total {
		x.PutAccount(keystest.NewAccount("acme", keystest.Policy(func(s *v1alpha1.AccountSpec) {
			s.Plan = fmt.Sprint(i)
			for j := range scopes {
				s.AllowedScopes = append(s.AllowedScopes, fmt.Sprintf("scope-with-a-long-name-%d:of-version-%d", j, i))
			}
		})))
		v := x.Check(&verifier.Input{Key: memberMaterial(i), ExtractResult: verifier.Valid, Client: home}, hour)
		if id := v.Key(); id == nil || id.Plan != fmt.Sprint(i) {
			t.Fatalf("got %+v for key %d", id, i)
		}
	}
	used := int64(heapSize()) - int64(before)
	t.Logf("%d policies of %d scopes leave %d KiB", total, scopes, used>>10)
	if used > most {
		t.Errorf("the heap grew by %d bytes, more than %d", used, most)
	}
	runtime.KeepAlive(x)
}

// TestIndex_LimitsMemoryOfAttributes logs the memory that metadata and rate limits of keys take.
func TestIndex_LimitsMemoryOfAttributes(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes up 100,000 keys")
	}
	const total, most = 100_000, 90 << 20
	before := heapSize()
	x := verifier.NewIndex()
	for i := range total {
		k := newMember(i)
		k.Spec.Metadata = entries{"team": v1alpha1.MetadataValue(fmt.Sprintf("team %d", i%20)), "costCenter": v1alpha1.MetadataValue(fmt.Sprint(i))}
		k.Spec.RateLimits = requests(10)
		x.PutKey(k)
	}
	used := heapSize() - before
	t.Logf("%d keys with two entries and a rate limit take %.1f MiB: %d bytes each", total, float64(used)/(1<<20), used/total)
	if used > most {
		t.Errorf("%d keys take %d bytes, more than %d", total, used, most)
	}
	runtime.KeepAlive(x)
}
