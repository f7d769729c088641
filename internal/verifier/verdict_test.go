// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

var (
	epoch = keystest.Epoch
	hour  = epoch.Add(time.Hour)
	home  = netip.MustParseAddr("192.0.2.7")
)

// suite holds the objects that are added to an index.
type suite struct {
	key     *v1alpha1.APIKey
	account *v1alpha1.Account
	labels  labels.Set
}

func (s suite) index() *verifier.Index {
	x := verifier.NewIndex()
	x.PutNamespace("default", s.labels)
	if s.account != nil {
		x.PutAccount(s.account)
	}
	x.PutKey(s.key)
	x.SetComplete()
	return x
}

func issued(options ...keystest.KeyOption) *v1alpha1.APIKey {
	return keystest.Key("shop", append(options, keystest.Issued(epoch))...)
}

func modified(k *v1alpha1.APIKey, change func(*v1alpha1.APIKey)) *v1alpha1.APIKey {
	change(k)
	return k
}

func policy(change func(*v1alpha1.AccountSpec)) *v1alpha1.Account {
	return keystest.NewAccount("acme", keystest.Policy(change))
}

// material returns the key that is derived from a name.
func material(name string) string { return string(keystest.MaterialOf(name)) }

func newInput(change func(*verifier.Input)) verifier.Input {
	in := verifier.Input{Key: material("default/shop"), ExtractResult: verifier.Valid, Client: home}
	if change != nil {
		change(&in)
	}
	return in
}

func previous(end time.Time) keystest.KeyOption {
	return func(k *v1alpha1.APIKey) {
		keystest.WithCredential("before", v1alpha1.RolePrevious, epoch.Add(-time.Hour))(k)
		k.Status.Credentials[0].NotAfter = &metav1.Time{Time: end}
	}
}

func TestIndexCheck(t *testing.T) {
	t.Parallel()
	withKey := func(key string) func(*verifier.Input) {
		return func(in *verifier.Input) { in.Key = key }
	}
	from := func(client string) func(*verifier.Input) {
		return func(in *verifier.Input) { in.Client, _ = netip.ParseAddr(client) }
	}
	needs := func(scopes string) func(*verifier.Input) {
		return func(in *verifier.Input) { in.Scopes = scopes }
	}
	claimsID := func(id string) func(*verifier.Input) {
		return func(in *verifier.Input) { in.Claim = verifier.Claim{Kind: verifier.ClaimExternalID, Value: id} }
	}
	claimsName := func(name string) func(*verifier.Input) {
		return func(in *verifier.Input) { in.Claim = verifier.Claim{Kind: verifier.ClaimName, Value: name} }
	}
	only := func(account, externalID string) func(*verifier.Input) {
		return func(in *verifier.Input) { in.Account, in.ExternalID = account, externalID }
	}
	for name, tc := range map[string]struct {
		key     *v1alpha1.APIKey
		account *v1alpha1.Account // defaults to acme with an empty spec
		labels  labels.Set
		input   func(*verifier.Input)
		now     time.Time // defaults to an hour after the key was issued
		want    verifier.Code
		step    verifier.Check
	}{
		"a valid key": {key: issued(), want: verifier.Valid, step: verifier.CheckClaim},
		"no key": {
			key: issued(), input: func(in *verifier.Input) { in.Key, in.ExtractResult = "", verifier.Missing },
			want: verifier.Missing, step: verifier.CheckKey,
		},
		"two keys": {
			key: issued(), input: func(in *verifier.Input) { in.ExtractResult = verifier.Ambiguous },
			want: verifier.Ambiguous, step: verifier.CheckKey,
		},
		"an unknown key": {key: issued(), input: withKey("ak_unknown"), want: verifier.Unknown, step: verifier.CheckKey},
		"the beginning of a key": {
			key: issued(), input: withKey(material("default/shop")[:60]), want: verifier.Unknown,
			step: verifier.CheckKey,
		},
		"a key and more": {
			key: issued(), input: withKey(material("default/shop") + "x"), want: verifier.Unknown,
			step: verifier.CheckKey,
		},
		"a key in capitals": {
			key: issued(), input: withKey(strings.ToUpper(material("default/shop"))), want: verifier.Unknown,
			step: verifier.CheckKey,
		},
		"a megabyte": {
			key: issued(), input: withKey(strings.Repeat("x", 1<<20)), want: verifier.Unknown,
			step: verifier.CheckKey,
		},
		"the longest key and more": {
			key: issued(), input: withKey(material("default/shop") + strings.Repeat("\x00", 500)),
			want: verifier.Unknown, step: verifier.CheckKey,
		},
		"the digest of a key": {
			key: issued(), input: withKey(keystest.CredentialOf("default/shop").SHA256), want: verifier.Unknown,
			step: verifier.CheckKey,
		},
		"a key being deleted":       {key: issued(keystest.Deleting(epoch)), want: verifier.Unknown, step: verifier.CheckKey},
		"a key that was not issued": {key: keystest.Key("shop"), want: verifier.Unknown, step: verifier.CheckKey},
		"disabled in the spec": {
			key:  modified(issued(), func(k *v1alpha1.APIKey) { k.Spec.State = v1alpha1.KeyStateInactive }),
			want: verifier.Inactive, step: verifier.CheckState,
		},
		"revoked in the spec": {
			key:  modified(issued(), func(k *v1alpha1.APIKey) { k.Spec.State = v1alpha1.KeyStateRevoked }),
			want: verifier.Revoked, step: verifier.CheckState,
		},
		"in a state of a later API": {
			key:  modified(issued(), func(k *v1alpha1.APIKey) { k.Spec.State = "Paused" }),
			want: verifier.Inactive, step: verifier.CheckState,
		},
		"enabled, not yet accepted": {
			key:  modified(issued(), func(k *v1alpha1.APIKey) { k.Status.State = v1alpha1.StateInactive }),
			want: verifier.Inactive, step: verifier.CheckAdmitted,
		},
		"not accepted": {
			key:  modified(issued(), func(k *v1alpha1.APIKey) { k.Status.State = v1alpha1.StatePending }),
			want: verifier.Inactive, step: verifier.CheckAdmitted,
		},
		"its account back, not yet let": {
			key:  modified(issued(), func(k *v1alpha1.APIKey) { k.Status.State = v1alpha1.StateSuspended }),
			want: verifier.AccountSuspended, step: verifier.CheckAdmitted,
		},
		"without a state": {
			key: modified(issued(), func(k *v1alpha1.APIKey) { k.Status.State = "" }), want: verifier.Inactive,
			step: verifier.CheckAdmitted,
		},
		"revoked in the status": {
			key:  modified(issued(), func(k *v1alpha1.APIKey) { k.Status.State = v1alpha1.StateRevoked }),
			want: verifier.Revoked, step: verifier.CheckAdmitted,
		},
		"compromised": {
			key: issued(keystest.RevokedBefore(epoch.Add(time.Second))), want: verifier.Revoked,
			step: verifier.CheckState,
		},
		"compromised as of later": {
			key: issued(keystest.RevokedBefore(hour.Add(time.Second))), want: verifier.Valid,
			step: verifier.CheckClaim,
		},
		"compromised as of now": {key: issued(keystest.RevokedBefore(hour)), want: verifier.Revoked, step: verifier.CheckState},
		"issued in that second": {key: issued(keystest.RevokedBefore(epoch)), want: verifier.Valid, step: verifier.CheckClaim},
		"an invalid expiration": {
			key:  modified(issued(), func(k *v1alpha1.APIKey) { k.Spec.Expiration = "soon" }),
			want: verifier.Inactive, step: verifier.CheckState,
		},
		"of no account": {key: issued(keystest.Account("missing")), want: verifier.Inactive, step: verifier.CheckAccount},
		"of a suspended account": {
			key: issued(), account: keystest.NewAccount("acme", keystest.Suspended()),
			want: verifier.AccountSuspended, step: verifier.CheckAccount,
		},
		"in a namespace not allowed": {key: issued(), account: policy(allowTeam), want: verifier.Inactive, step: verifier.CheckAccount},
		"in a namespace allowed": {
			key: issued(), account: policy(allowTeam), labels: labels.Set{"team": "shop"}, want: verifier.Valid,
			step: verifier.CheckClaim,
		},
		"under an invalid selector": {
			key: issued(), labels: labels.Set{"team": "shop"}, want: verifier.Inactive, step: verifier.CheckAccount,
			account: policy(func(s *v1alpha1.AccountSpec) {
				s.AllowedNamespaces = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Likes"}}}
			}),
		},
		"with a scope not allowed": {
			key: issued(keystest.Scopes("reports:read", "users:write")), want: verifier.Inactive, step: verifier.CheckAccount,
			account: policy(func(s *v1alpha1.AccountSpec) { s.AllowedScopes = []string{"reports:*"} }),
		},
		"with a default scope not allowed": {
			key: issued(), want: verifier.Inactive, step: verifier.CheckAccount,
			account: policy(func(s *v1alpha1.AccountSpec) {
				s.AllowedScopes = []string{"reports:*"}
				s.KeyDefaults = &v1alpha1.KeyDefaults{Scopes: []string{"users:write"}}
			}),
		},
		"a whitelist removed under a policy": {
			key:     modified(issued(keystest.Whitelist("192.0.2.7")), func(k *v1alpha1.APIKey) { k.Spec.IPWhitelist = nil }),
			account: policy(requireWhitelist),
			want:    verifier.Inactive, step: verifier.CheckAccount,
		},
		"accepted before the policy": {key: issued(), account: policy(requireWhitelist), want: verifier.Valid, step: verifier.CheckClaim},
		"a second before it expires": {
			key: issued(keystest.Expiring(hour.Add(time.Second))), want: verifier.Valid,
			step: verifier.CheckClaim,
		},
		"a nanosecond before it expires": {
			key: issued(keystest.Expiring(hour.Add(time.Second))), now: hour.Add(time.Second - 1),
			want: verifier.Valid, step: verifier.CheckClaim,
		},
		"the second it expires": {key: issued(keystest.Expiring(hour)), want: verifier.Expired, step: verifier.CheckExpiry},
		"expired, and moved later since": {key: modified(issued(keystest.Expiring(hour)),
			func(k *v1alpha1.APIKey) { k.Spec.Expiration = "2099-01-01" }), want: verifier.Expired, step: verifier.CheckExpiry},
		"expired, and freed since": {key: modified(issued(keystest.Expiring(hour)),
			func(k *v1alpha1.APIKey) { k.Spec.Expiration = "" }), want: verifier.Expired, step: verifier.CheckExpiry},
		"moved earlier, to now": {key: modified(issued(),
			func(k *v1alpha1.APIKey) { k.Spec.Expiration = hour.Format(time.RFC3339) }), want: verifier.Expired, step: verifier.CheckExpiry},
		"moved earlier, to a future day": {
			key:  modified(issued(), func(k *v1alpha1.APIKey) { k.Spec.Expiration = "2026-01-11" }),
			want: verifier.Valid, step: verifier.CheckClaim,
		},
		"moved to a day that began in Apia": {
			key:     modified(issued(), func(k *v1alpha1.APIKey) { k.Spec.Expiration = "2026-01-11" }),
			account: keystest.NewAccount("acme", keystest.Zone("Pacific/Apia")), now: time.Date(2026, 1, 10, 11, 0, 0, 0, time.UTC),
			want: verifier.Expired, step: verifier.CheckExpiry,
		},
		"moved to a day, in no zone": {
			key:     modified(issued(), func(k *v1alpha1.APIKey) { k.Spec.Expiration = "2099-01-11" }),
			account: keystest.NewAccount("acme", keystest.Zone("Mars/Base")), want: verifier.Expired, step: verifier.CheckExpiry,
		},
		"found expired by the manager": {
			key:  modified(issued(), func(k *v1alpha1.APIKey) { k.Status.State = v1alpha1.StateExpired }),
			want: verifier.Expired, step: verifier.CheckExpiry,
		},
		"the one before, in its overlap": {
			key:   keystest.Key("shop", previous(hour.Add(1)), keystest.Issued(epoch)),
			input: withKey(material("before")), now: hour.Add(-time.Second), want: verifier.Valid, step: verifier.CheckClaim,
		},
		"the one before, after its overlap": {
			key:   keystest.Key("shop", previous(hour), keystest.Issued(epoch)),
			input: withKey(material("before")), want: verifier.Expired, step: verifier.CheckExpiry,
		},
		"the next one, staged": {
			key:   keystest.Key("shop", keystest.Issued(epoch), keystest.WithCredential("next", v1alpha1.RoleStaged, epoch)),
			input: withKey(material("next")),
			want:  verifier.Valid, step: verifier.CheckClaim,
		},
		"from a whitelisted address": {
			key: issued(keystest.Whitelist("10.0.0.0/8", "192.0.2.7")), want: verifier.Valid,
			step: verifier.CheckClaim,
		},
		"from another address": {
			key: issued(keystest.Whitelist("10.0.0.0/8", "192.0.2.8")), want: verifier.IPNotAllowed,
			step: verifier.CheckAddress,
		},
		"from a whitelisted network": {
			key: issued(keystest.Whitelist("2001:db8::/32")), input: from("2001:db8::1"), want: verifier.Valid,
			step: verifier.CheckClaim,
		},
		"from an unknown address": {
			key: issued(keystest.Whitelist("0.0.0.0/0", "::/0")), input: from(""), want: verifier.IPNotAllowed,
			step: verifier.CheckAddress,
		},
		"from nowhere, and free": {key: issued(), input: from(""), want: verifier.Valid, step: verifier.CheckClaim},
		"with the scope": {
			key: issued(keystest.Scopes("a", "reports:*")), input: needs("reports:read, a"), want: verifier.Valid,
			step: verifier.CheckClaim,
		},
		"without the scope": {
			key: issued(keystest.Scopes("a", "reports:*")), input: needs("a,b"), want: verifier.ScopeMissing,
			step: verifier.CheckScopes,
		},
		"with no scope at all": {key: issued(), input: needs("a"), want: verifier.ScopeMissing, step: verifier.CheckScopes},
		"with the default scope": {
			key: issued(), account: policy(defaultScope), input: needs("a"), want: verifier.Valid,
			step: verifier.CheckClaim,
		},
		"own scopes override the default": {
			key: issued(keystest.Scopes("b")), account: policy(defaultScope), input: needs("a"),
			want: verifier.ScopeMissing, step: verifier.CheckScopes,
		},
		"for another account": {key: issued(), input: only("globex", ""), want: verifier.AccountMismatch, step: verifier.CheckClaim},
		"for its account":     {key: issued(), input: only("acme", ""), want: verifier.Valid, step: verifier.CheckClaim},
		"for its external ID": {
			key: issued(), account: policy(external), input: only("", "4711"), want: verifier.Valid,
			step: verifier.CheckClaim,
		},
		"for both": {
			key: issued(), account: policy(external), input: only("acme", "4711"), want: verifier.Valid,
			step: verifier.CheckClaim,
		},
		"for its name, another ID": {
			key: issued(), account: policy(external), input: only("acme", "4712"), want: verifier.AccountMismatch,
			step: verifier.CheckClaim,
		},
		"for another name, its ID": {
			key: issued(), account: policy(external), input: only("globex", "4711"), want: verifier.AccountMismatch,
			step: verifier.CheckClaim,
		},
		"its ID as a name": {
			key: issued(), account: policy(external), input: only("4711", ""), want: verifier.AccountMismatch,
			step: verifier.CheckClaim,
		},
		"its name as an ID": {
			key: issued(), account: policy(external), input: only("", "acme"), want: verifier.AccountMismatch,
			step: verifier.CheckClaim,
		},
		"requires an ID, account has none": {key: issued(), input: only("", "acme"), want: verifier.AccountMismatch, step: verifier.CheckClaim},
		"claims its external ID": {
			key: issued(), account: policy(external), input: claimsID("4711"), want: verifier.Valid,
			step: verifier.CheckClaim,
		},
		"claims its name": {
			key: issued(), account: policy(external), input: claimsName("acme"), want: verifier.Valid,
			step: verifier.CheckClaim,
		},
		"claims its ID as a name": {
			key: issued(), account: policy(external), input: claimsName("4711"), want: verifier.AccountMismatch,
			step: verifier.CheckClaim,
		},
		"claims its name as an ID": {
			key: issued(), account: policy(external), input: claimsID("acme"), want: verifier.AccountMismatch,
			step: verifier.CheckClaim,
		},
		"claims another ID": {
			key: issued(), account: policy(external), input: claimsID("4712"), want: verifier.AccountMismatch,
			step: verifier.CheckClaim,
		},
		"claims no ID": {
			key: issued(), account: policy(external), input: claimsID(""), want: verifier.AccountMismatch,
			step: verifier.CheckClaim,
		},
		"claims no ID, account has none": {key: issued(), input: claimsID(""), want: verifier.AccountMismatch, step: verifier.CheckClaim},
		"claims no name":                 {key: issued(), input: claimsName(""), want: verifier.AccountMismatch, step: verifier.CheckClaim},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := suite{key: tc.key, account: tc.account, labels: tc.labels}
			if s.account == nil {
				s.account = keystest.NewAccount("acme")
			}
			now := tc.now
			if now.IsZero() {
				now = hour
			}
			in := newInput(tc.input)
			got := s.index().Check(&in, now)
			if got.Code != tc.want || got.Check != tc.step {
				t.Errorf("got %s at check %s, want %s at check %s", got.Code, got.Check, tc.want, tc.step)
			}
			if matched := got.KeyID() != ""; matched != got.Code.Matched() {
				t.Errorf("%s describes the key: %t", got.Code, matched)
			}
		})
	}
}

func allowTeam(s *v1alpha1.AccountSpec) {
	s.AllowedNamespaces = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}}
}

func requireWhitelist(s *v1alpha1.AccountSpec) { s.IPWhitelistPolicy = v1alpha1.IPWhitelistRequired }
func external(s *v1alpha1.AccountSpec)         { s.ExternalID = "4711" }
func defaultScope(s *v1alpha1.AccountSpec) {
	s.KeyDefaults = &v1alpha1.KeyDefaults{Scopes: []string{"a"}}
}

// TestIndexCheck_Order starts with a request that fails every check, and corrects one after the other.
func TestIndexCheck_Order(t *testing.T) {
	t.Parallel()
	x := verifier.NewIndex()
	account := keystest.NewAccount("acme", keystest.Suspended())
	key := issued(keystest.Whitelist("198.51.100.1"), keystest.Expiring(epoch), keystest.RevokedBefore(epoch.Add(1*time.Second)))
	key.Spec.State, key.Status.State = v1alpha1.KeyStateInactive, v1alpha1.StatePending
	x.PutAccount(account)
	x.PutKey(key)
	in := verifier.Input{ExtractResult: verifier.Missing, Client: home, Scopes: "a", Account: "globex"}
	for _, next := range []struct {
		want verifier.Code
		mend func()
	}{
		{verifier.NotSynced, x.SetComplete},
		{verifier.Missing, func() { in.Key, in.ExtractResult = "ak_unknown", verifier.Valid }},
		{verifier.Unknown, func() { in.Key = material("default/shop") }},
		{verifier.Revoked, func() { key.Spec.Rotation = nil }},
		{verifier.Inactive, func() { key.Spec.State = v1alpha1.KeyStateActive }},
		{verifier.AccountSuspended, func() { account.Spec.State = v1alpha1.AccountActive }},
		{verifier.Expired, func() { key.Spec.Expiration, key.Status.ExpirationTime = "", nil }},
		{verifier.Inactive, func() { key.Status.State = v1alpha1.StateActive }},
		{verifier.IPNotAllowed, func() { key.Spec.IPWhitelist = nil }},
		{verifier.ScopeMissing, func() { key.Spec.Scopes = []string{"*"} }},
		{verifier.AccountMismatch, func() { in.Account = "" }},
		{verifier.Valid, func() {}},
	} {
		if got := x.Check(&in, hour); got.Code != next.want {
			t.Fatalf("got %s, want %s", got.Code, next.want)
		}
		next.mend()
		x.PutAccount(account)
		x.PutKey(key)
	}
}

func TestVerdict_Key(t *testing.T) {
	t.Parallel()
	account := policy(func(s *v1alpha1.AccountSpec) { external(s); defaultScope(s) })
	for name, tc := range map[string]struct {
		key  *v1alpha1.APIKey
		want verifier.Identity
	}{
		"with everything": {
			issued(keystest.Label("Tienda"), keystest.Scopes("b", "c:*"), keystest.Expiring(hour.Add(time.Second))),
			verifier.Identity{Label: "Tienda", Scopes: "b,c:*", ExpiresAt: hour.Add(time.Second)},
		},
		"with next to nothing": {issued(), verifier.Identity{Scopes: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := newInput(nil)
			v := suite{key: tc.key, account: account}.index().Check(&in, hour)
			tc.want.KeyID, tc.want.Namespace, tc.want.Name = keystest.CredentialOf("default/shop").ID, "default", "shop"
			tc.want.UID, tc.want.Account, tc.want.ExternalID = "uid-shop", "acme", "4711"
			if diff := cmp.Diff(&tc.want, v.Key()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCodes(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"VALID": "200 OK", "MISSING": "401 Unauthenticated", "AMBIGUOUS": "401 Unauthenticated", "UNKNOWN": "401 Unauthenticated",
		"INACTIVE": "401 Unauthenticated", "EXPIRED": "401 Unauthenticated", "REVOKED": "401 Unauthenticated",
		"ACCOUNT_SUSPENDED": "401 Unauthenticated", "IP_NOT_ALLOWED": "403 PermissionDenied", "SCOPE_MISSING": "403 PermissionDenied",
		"ACCOUNT_MISMATCH": "403 PermissionDenied", "NOT_SYNCED": "503 Unavailable", "PREFLIGHT": "200 OK",
		"TOO_MANY_FAILURES": "429 Unavailable",
	}
	got := map[string]string{}
	for _, c := range verifier.Codes() {
		got[c.String()] = strings.TrimSpace(strings.Join([]string{strconv.Itoa(c.HTTP()), c.GRPC().String()}, " "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
