// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// good says, from the objects themselves, everything that must hold for a key to be let in.
func (w suite) good(in verifier.Input, credential v1alpha1.Credential, now time.Time) bool {
	k, a := w.key, w.account
	if a == nil || k.Spec.Account != a.Name || in.ExtractResult != verifier.Valid {
		return false
	}
	scopes := keys.EffectiveScopes(k, a)
	covered := func(granted []string, wanted string) bool {
		return slices.ContainsFunc(granted, func(g string) bool { return keys.Covers(g, wanted) })
	}
	past := func(t *metav1.Time) bool { return t != nil && !now.Before(t.Time) }
	spec, err := keys.ResolveExpiration(k.Spec.Expiration, a.Spec.TimeZone)
	inside := func(entry string) bool {
		network, err := keys.ParseNetwork(entry)
		return err == nil && network.Contains(in.Client)
	}
	killed := false
	if r := k.Spec.Rotation; r != nil {
		before := keystest.Time(r.RevokeBefore)
		killed = r.RevokeBefore != "" && (before == nil || past(before) && credential.IssuedAt.Before(before))
	}
	selected := true
	if s := a.Spec.AllowedNamespaces; s != nil {
		selector, err := metav1.LabelSelectorAsSelector(s)
		selected = err == nil && selector.Matches(w.labels)
	}
	killed = killed || slices.ContainsFunc(k.Status.RevokedCredentials, func(r v1alpha1.RevokedCredential) bool { return r.SHA256 == credential.SHA256 })
	return k.Spec.State == v1alpha1.KeyStateActive && k.Status.State == v1alpha1.StateActive && k.DeletionTimestamp == nil && !killed &&
		a.Spec.State != v1alpha1.AccountSuspended && selected &&
		!past(credential.NotAfter) && !past(k.Status.ExpirationTime) && err == nil && (spec == nil || now.Before(*spec)) &&
		(k.Spec.IPWhitelist == nil || slices.ContainsFunc(k.Spec.IPWhitelist, inside)) &&
		(k.Spec.IPWhitelist != nil || a.Spec.IPWhitelistPolicy != v1alpha1.IPWhitelistRequired || k.Status.IPRestriction == v1alpha1.IPUnrestricted) &&
		(a.Spec.AllowedScopes == nil || !slices.ContainsFunc(scopes, func(s string) bool { return !covered(a.Spec.AllowedScopes, s) })) &&
		(in.Scopes == "" || !slices.ContainsFunc(strings.Split(in.Scopes, ","), func(s string) bool { return !covered(scopes, s) })) &&
		(in.Account == "" || in.Account == a.Name) && (in.ExternalID == "" || in.ExternalID == a.Spec.ExternalID) &&
		(in.Claim.Kind != verifier.ClaimName || in.Claim.Value == a.Name) &&
		(in.Claim.Kind != verifier.ClaimExternalID || in.Claim.Value != "" && in.Claim.Value == a.Spec.ExternalID)
}

// TestDecide_ValidOnlyIfAllHolds makes up a key, its account and a question, and tells the index in any order.
func TestDecide_ValidOnlyIfAllHolds(t *testing.T) {
	t.Parallel()
	valid := 0
	rapid.Check(t, func(t *rapid.T) {
		w, in := anyWorld(t), anyQuestion(t)
		x := verifier.NewIndex()
		tell := []func(){func() { x.PutKey(w.key) }, func() { x.PutNamespace("default", w.labels) }, func() {
			if w.account != nil {
				x.PutAccount(w.account)
			}
		}}
		for _, i := range rapid.Permutation([]int{0, 1, 2, 0, 2}).Draw(t, "order") {
			tell[i]()
		}
		for _, now := range []time.Time{epoch, hour.Add(-1), hour, hour.Add(24 * time.Hour)} {
			for _, c := range w.key.Status.Credentials {
				ask := in
				ask.Key = material(c.Hint)
				if v := x.Check(&ask, now); v.Code != verifier.NotSynced {
					t.Fatalf("before it is complete: %s", v.Code)
				}
			}
		}
		x.SetComplete()
		for _, now := range []time.Time{epoch, hour.Add(-1), hour, hour.Add(24 * time.Hour)} {
			for _, c := range w.key.Status.Credentials {
				ask := in
				ask.Key = material(c.Hint)
				want, v := w.good(ask, c, now), x.Check(&ask, now)
				if (v.Code == verifier.Valid) != want {
					t.Fatalf("at %s: got %s, want good %t\nkey %+v\naccount %+v\nquestion %+v", now, v.Code, want, w.key, w.account, ask)
				}
				if want {
					valid++
				}
			}
			ask := in
			ask.Key = rapid.String().Draw(t, "another key")
			if v := x.Check(&ask, now); v.Code == verifier.Valid || v.Key() != nil {
				t.Fatalf("%q: got %s", ask.Key, v.Code)
			}
		}
	})
	if valid == 0 {
		t.Error("nothing was ever good: the property says nothing")
	}
}

// mostly is the first of some values, most of the time: if all went wrong at once, nothing would be learnt.
func mostly[T any](t *rapid.T, what string, values ...T) T {
	if rapid.IntRange(0, 7).Draw(t, what+"?") > 0 {
		return values[0]
	}
	return rapid.SampledFrom(values).Draw(t, what)
}

func anyWorld(t *rapid.T) suite {
	k := keystest.Key("shop", keystest.State(mostly(t, "state", v1alpha1.KeyStateActive, v1alpha1.KeyStateInactive, v1alpha1.KeyStateRevoked)),
		keystest.Expiration(mostly(t, "expiration", "", hour.Format(time.RFC3339), "2026-01-10", "2026-01-11", "2026-01-12", "nonsense")))
	k.Spec.Account = mostly(t, "account", "acme", "globex")
	k.Spec.IPWhitelist = mostly(t, "whitelist", nil, []string{"192.0.2.0/24", "2001:db8::/32"}, []string{"198.51.100.1"}, []string{"nonsense"})
	k.Spec.Scopes = mostly(t, "scopes", []string{"a", "reports:*"}, nil, []string{"b"}, []string{"*"})
	if at := mostly(t, "revoke before", time.Time{}, epoch, epoch.Add(time.Second), hour, hour.Add(24*time.Hour)); !at.IsZero() {
		keystest.RevokedBefore(at)(k)
	}
	k.Status.State = mostly(t, "status", v1alpha1.StateActive, "", v1alpha1.StatePending, v1alpha1.StateInactive, v1alpha1.StateSuspended, v1alpha1.StateExpired, v1alpha1.StateRevoked)
	k.Status.IPRestriction = mostly(t, "restriction", v1alpha1.IPUnrestricted, "", v1alpha1.IPRestricted)
	k.Status.ExpirationTime = anyTime(t, "expires")
	for _, name := range []string{"current", "previous"} {
		c := keystest.CredentialOf(name)
		c.Hint, c.NotAfter = name, anyTime(t, "not after")
		k.Status.Credentials = append(k.Status.Credentials, c)
	}
	if name := mostly(t, "revoked", "", "current", "previous", "another"); name != "" {
		keystest.Revoked(name, epoch)(k)
	}
	w := suite{key: k, labels: mostly(t, "labels", labels.Set{"team": "shop"}, nil, labels.Set{"team": "blog"})}
	if mostly(t, "account exists", true, false) {
		w.account = anyAccount(t)
	}
	return w
}

func anyTime(t *rapid.T, what string) *metav1.Time {
	if at := mostly(t, what, time.Time{}, epoch, hour, hour.Add(24*time.Hour)); !at.IsZero() {
		return &metav1.Time{Time: at}
	}
	return nil
}

func anyAccount(t *rapid.T) *v1alpha1.Account {
	return policy(func(s *v1alpha1.AccountSpec) {
		s.State = mostly(t, "account state", v1alpha1.AccountActive, v1alpha1.AccountSuspended)
		s.ExternalID = mostly(t, "external ID", "4711", "", "acme")
		s.TimeZone = mostly(t, "zone", "UTC", "Pacific/Apia", "America/Havana", "Mars/Base")
		s.IPWhitelistPolicy = mostly(t, "whitelist policy", v1alpha1.IPWhitelistOptional, v1alpha1.IPWhitelistRequired)
		s.AllowedScopes = mostly(t, "allowed scopes", nil, []string{"a", "reports:*"}, []string{"reports:read"})
		if mostly(t, "default scopes", false, true) {
			defaultScope(s)
		}
		if mostly(t, "selects namespaces", false, true) {
			allowTeam(s)
		}
	})
}

func anyQuestion(t *rapid.T) verifier.Input {
	in := verifier.Input{ExtractResult: mostly(t, "found", verifier.Valid, verifier.Missing, verifier.Ambiguous)}
	in.Client, _ = netip.ParseAddr(mostly(t, "client", "192.0.2.7", "2001:db8::1", "203.0.113.1", ""))
	in.Scopes = mostly(t, "wanted", "", "a", "reports:read", "a,reports:write", "b", "*")
	in.Account = mostly(t, "route", "", "acme", "4711", "globex")
	in.ExternalID = mostly(t, "route's external ID", "", "4711", "acme", "globex")
	in.Claim.Kind = mostly(t, "claim", verifier.ClaimNone, verifier.ClaimName, verifier.ClaimExternalID)
	in.Claim.Value = mostly(t, "claims", "4711", "acme", "", "globex")
	return in
}
