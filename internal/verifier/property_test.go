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

// isValid reports whether a key must be accepted, evaluating the API objects directly.
func (s suite) isValid(in verifier.Input, credential v1alpha1.Credential, now time.Time) bool {
	k, a := s.key, s.account
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
	if allowed := a.Spec.AllowedNamespaces; allowed != nil {
		selector, err := metav1.LabelSelectorAsSelector(allowed)
		selected = err == nil && selector.Matches(s.labels)
	}
	killed = killed || slices.ContainsFunc(k.Status.RevokedCredentials,
		func(r v1alpha1.RevokedCredential) bool { return r.SHA256 == credential.SHA256 })
	return k.Spec.State == v1alpha1.KeyStateActive && k.Status.State == v1alpha1.StateActive && k.DeletionTimestamp == nil && !killed &&
		a.Spec.State != v1alpha1.AccountSuspended && selected &&
		!past(credential.NotAfter) && !past(k.Status.ExpirationTime) && err == nil && (spec == nil || now.Before(*spec)) &&
		(k.Spec.IPWhitelist == nil || slices.ContainsFunc(k.Spec.IPWhitelist, inside)) &&
		(k.Spec.IPWhitelist != nil || a.Spec.IPWhitelistPolicy != v1alpha1.IPWhitelistRequired ||
			k.Status.IPRestriction == v1alpha1.IPUnrestricted) &&
		(a.Spec.AllowedScopes == nil || !slices.ContainsFunc(scopes, func(s string) bool { return !covered(a.Spec.AllowedScopes, s) })) &&
		(in.Scopes == "" || !slices.ContainsFunc(strings.Split(in.Scopes, ","), func(s string) bool { return !covered(scopes, s) })) &&
		(in.Account == "" || in.Account == a.Name) && (in.ExternalID == "" || in.ExternalID == a.Spec.ExternalID) &&
		(in.Claim.Kind != verifier.ClaimName || in.Claim.Value == a.Name) &&
		(in.Claim.Kind != verifier.ClaimExternalID || in.Claim.Value != "" && in.Claim.Value == a.Spec.ExternalID)
}

// TestIndexCheck_ValidOnlyIfAllChecksPass draws a key, its account and a request, and adds the objects to the index in
// any order.
func TestIndexCheck_ValidOnlyIfAllChecksPass(t *testing.T) {
	t.Parallel()
	valid := 0
	rapid.Check(t, func(t *rapid.T) {
		s, in := drawSuite(t), drawInput(t)
		x := verifier.NewIndex()
		apply := []func(){func() { x.PutKey(s.key) }, func() { x.PutNamespace("default", s.labels) }, func() {
			if s.account != nil {
				x.PutAccount(s.account)
			}
		}}
		for _, i := range rapid.Permutation([]int{0, 1, 2, 0, 2}).Draw(t, "order") {
			apply[i]()
		}
		for _, now := range []time.Time{epoch, hour.Add(-1), hour, hour.Add(24 * time.Hour)} {
			for _, c := range s.key.Status.Credentials {
				input := in
				input.Key = material(c.Hint)
				if v := x.Check(&input, now); v.Code != verifier.NotSynced {
					t.Fatalf("before it is complete: %s", v.Code)
				}
			}
		}
		x.SetComplete()
		for _, now := range []time.Time{epoch, hour.Add(-1), hour, hour.Add(24 * time.Hour)} {
			for _, c := range s.key.Status.Credentials {
				input := in
				input.Key = material(c.Hint)
				want, v := s.isValid(input, c, now), x.Check(&input, now)
				if (v.Code == verifier.Valid) != want {
					t.Fatalf("at %s: got %s, want valid %t\nkey %+v\naccount %+v\ninput %+v", now, v.Code, want, s.key, s.account, input)
				}
				if want {
					valid++
				}
			}
			input := in
			input.Key = rapid.String().Draw(t, "another key")
			if v := x.Check(&input, now); v.Code == verifier.Valid || v.Key() != nil {
				t.Fatalf("%q: got %s", input.Key, v.Code)
			}
		}
	})
	if valid == 0 {
		t.Error("no key was ever valid, so the test proves nothing")
	}
}

// drawMostly draws the first value most of the time: if everything were invalid at once, the test would cover little.
func drawMostly[T any](t *rapid.T, what string, values ...T) T {
	if rapid.IntRange(0, 7).Draw(t, what+"?") > 0 {
		return values[0]
	}
	return rapid.SampledFrom(values).Draw(t, what)
}

func drawSuite(t *rapid.T) suite {
	k := keystest.Key("shop", keystest.State(drawMostly(t, "state", v1alpha1.KeyStateActive, v1alpha1.KeyStateInactive,
		v1alpha1.KeyStateRevoked)),
		keystest.Expiration(drawMostly(t, "expiration", "", hour.Format(time.RFC3339), "2026-01-10", "2026-01-11", "2026-01-12", "nonsense")))
	k.Spec.Account = drawMostly(t, "account", "acme", "globex")
	k.Spec.IPWhitelist = drawMostly(t, "whitelist", nil, []string{"192.0.2.0/24", "2001:db8::/32"}, []string{"198.51.100.1"},
		[]string{"nonsense"})
	k.Spec.Scopes = drawMostly(t, "scopes", []string{"a", "reports:*"}, nil, []string{"b"}, []string{"*"})
	if at := drawMostly(t, "revoke before", time.Time{}, epoch, epoch.Add(time.Second), hour, hour.Add(24*time.Hour)); !at.IsZero() {
		keystest.RevokedBefore(at)(k)
	}
	k.Status.State = drawMostly(t, "status", v1alpha1.StateActive, "", v1alpha1.StatePending, v1alpha1.StateInactive,
		v1alpha1.StateSuspended, v1alpha1.StateExpired, v1alpha1.StateRevoked)
	k.Status.IPRestriction = drawMostly(t, "restriction", v1alpha1.IPUnrestricted, "", v1alpha1.IPRestricted)
	k.Status.ExpirationTime = drawTime(t, "expires")
	for _, name := range []string{"current", "previous"} {
		c := keystest.CredentialOf(name)
		c.Hint, c.NotAfter = name, drawTime(t, "not after")
		k.Status.Credentials = append(k.Status.Credentials, c)
	}
	if name := drawMostly(t, "revoked", "", "current", "previous", "another"); name != "" {
		keystest.Revoked(name, epoch)(k)
	}
	s := suite{key: k, labels: drawMostly(t, "labels", labels.Set{"team": "shop"}, nil, labels.Set{"team": "blog"})}
	if drawMostly(t, "account exists", true, false) {
		s.account = drawAccount(t)
	}
	return s
}

func drawTime(t *rapid.T, what string) *metav1.Time {
	if at := drawMostly(t, what, time.Time{}, epoch, hour, hour.Add(24*time.Hour)); !at.IsZero() {
		return &metav1.Time{Time: at}
	}
	return nil
}

func drawAccount(t *rapid.T) *v1alpha1.Account {
	return policy(func(s *v1alpha1.AccountSpec) {
		s.State = drawMostly(t, "account state", v1alpha1.AccountActive, v1alpha1.AccountSuspended)
		s.ExternalID = drawMostly(t, "external ID", "4711", "", "acme")
		s.TimeZone = drawMostly(t, "zone", "UTC", "Pacific/Apia", "America/Havana", "Mars/Base")
		s.IPWhitelistPolicy = drawMostly(t, "whitelist policy", v1alpha1.IPWhitelistOptional, v1alpha1.IPWhitelistRequired)
		s.AllowedScopes = drawMostly(t, "allowed scopes", nil, []string{"a", "reports:*"}, []string{"reports:read"})
		if drawMostly(t, "default scopes", false, true) {
			defaultScope(s)
		}
		if drawMostly(t, "selects namespaces", false, true) {
			allowTeam(s)
		}
	})
}

func drawInput(t *rapid.T) verifier.Input {
	in := verifier.Input{ExtractResult: drawMostly(t, "found", verifier.Valid, verifier.Missing, verifier.Ambiguous)}
	in.Client, _ = netip.ParseAddr(drawMostly(t, "client", "192.0.2.7", "2001:db8::1", "203.0.113.1", ""))
	in.Scopes = drawMostly(t, "wanted", "", "a", "reports:read", "a,reports:write", "b", "*")
	in.Account = drawMostly(t, "route", "", "acme", "4711", "globex")
	in.ExternalID = drawMostly(t, "route's external ID", "", "4711", "acme", "globex")
	in.Claim.Kind = drawMostly(t, "claim", verifier.ClaimNone, verifier.ClaimName, verifier.ClaimExternalID)
	in.Claim.Value = drawMostly(t, "claims", "4711", "acme", "", "globex")
	return in
}
