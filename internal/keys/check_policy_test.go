// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

var (
	team = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
	year = keystest.Epoch.AddDate(1, 0, 0)
)

func policy(change func(*v1alpha1.AccountSpec)) keystest.AccountOption {
	return keystest.Policy(change)
}

func expirations(p v1alpha1.ExpirationPolicy) keystest.AccountOption {
	return policy(func(a *v1alpha1.AccountSpec) { a.ExpirationPolicy = &p })
}

func whitelistRequired(a *v1alpha1.AccountSpec) { a.IPWhitelistPolicy = v1alpha1.IPWhitelistRequired }

func TestCheckPolicy(t *testing.T) {
	t.Parallel()
	acct, key := keystest.NewAccount, keystest.Key
	accepted := func(options ...keystest.KeyOption) *v1alpha1.APIKey {
		return key("shop", append(options, keystest.Issued(keystest.Epoch))...)
	}
	scopes := policy(func(a *v1alpha1.AccountSpec) { a.AllowedScopes = []string{"reports:*", "conversions:write"} })
	for name, tc := range map[string]struct {
		key       *v1alpha1.APIKey
		account   *v1alpha1.Account
		namespace map[string]string
		siblings  []*v1alpha1.APIKey
		require   bool
		want      string
	}{
		"nothing against it":                       {key: key("shop"), account: acct("acme")},
		"a spec that can't be carried out":         {key: key("shop", keystest.Whitelist("10.0.0.1/8")), account: acct("acme"), want: v1alpha1.ReasonInvalidSpec},
		"the same without an account":              {key: key("shop", keystest.Whitelist("10.0.0.1/8")), want: v1alpha1.ReasonInvalidSpec},
		"a date in a zone that does not exist":     {key: key("shop", keystest.Expiration("2027-01-01")), account: acct("acme", keystest.Zone("Mars/Base")), want: v1alpha1.ReasonInvalidSpec},
		"an instant does not need the zone":        {key: key("shop", keystest.Expiring(year)), account: acct("acme", keystest.Zone("Mars/Base"))},
		"no account, which will be created":        {key: key("shop")},
		"no account where it is required":          {key: key("shop"), require: true, want: v1alpha1.ReasonAccountNotFound},
		"an account where it is required":          {key: key("shop"), account: acct("acme"), require: true},
		"a suspended account":                      {key: key("shop"), account: acct("acme", keystest.Suspended()), want: v1alpha1.ReasonAccountSuspended},
		"a suspended account, of a key in use":     {key: accepted(), account: acct("acme", keystest.Suspended()), want: v1alpha1.ReasonAccountSuspended},
		"a namespace that is selected":             {key: key("shop"), account: acct("acme", policy(func(a *v1alpha1.AccountSpec) { a.AllowedNamespaces = team })), namespace: team.MatchLabels},
		"a namespace that is not":                  {key: key("shop"), account: acct("acme", policy(func(a *v1alpha1.AccountSpec) { a.AllowedNamespaces = team })), namespace: map[string]string{"team": "b"}, want: v1alpha1.ReasonNamespaceNotAllowed},
		"a namespace without labels":               {key: key("shop"), account: acct("acme", policy(func(a *v1alpha1.AccountSpec) { a.AllowedNamespaces = team })), want: v1alpha1.ReasonNamespaceNotAllowed},
		"a namespace that is not, of a key in use": {key: accepted(), account: acct("acme", policy(func(a *v1alpha1.AccountSpec) { a.AllowedNamespaces = team })), want: v1alpha1.ReasonNamespaceNotAllowed},
		"an empty selector selects all":            {key: key("shop"), account: acct("acme", policy(func(a *v1alpha1.AccountSpec) { a.AllowedNamespaces = &metav1.LabelSelector{} }))},
		"a selector that can't be read selects none": {
			key: key("shop"), account: acct("acme", policy(func(a *v1alpha1.AccountSpec) {
				a.AllowedNamespaces = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Near"}}}
			})), want: v1alpha1.ReasonNamespaceNotAllowed,
		},
		"scopes that are allowed":                  {key: key("shop", keystest.Scopes("reports:read", "conversions:write")), account: acct("acme", scopes)},
		"a scope that is not":                      {key: key("shop", keystest.Scopes("reports:read", "conversions:read")), account: acct("acme", scopes), want: v1alpha1.ReasonScopeNotAllowed},
		"a wildcard wider than allowed":            {key: key("shop", keystest.Scopes("*")), account: acct("acme", scopes), want: v1alpha1.ReasonScopeNotAllowed},
		"no scopes at all":                         {key: key("shop"), account: acct("acme", scopes)},
		"a scope that is not, of a key in use":     {key: accepted(keystest.Scopes("admin")), account: acct("acme", scopes), want: v1alpha1.ReasonScopeNotAllowed},
		"default scopes that are not allowed":      {key: key("shop"), account: acct("acme", scopes, policy(func(a *v1alpha1.AccountSpec) { a.KeyDefaults = &v1alpha1.KeyDefaults{Scopes: []string{"admin"}} })), want: v1alpha1.ReasonScopeNotAllowed},
		"a key that must expire and does":          {key: key("shop", keystest.Expiring(year)), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationRequired}))},
		"a key that must expire and does not":      {key: key("shop"), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationRequired})), want: v1alpha1.ReasonExpirationRequired},
		"a key that must not expire and does":      {key: key("shop", keystest.Expiring(year)), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationForbidden})), want: v1alpha1.ReasonExpirationForbidden},
		"a key that must not expire and does not":  {key: key("shop"), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationForbidden}))},
		"a life of exactly the longest":            {key: key("shop", keystest.Expiring(keystest.Epoch.Add(2160*time.Hour))), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{MaxLifetime: "2160h"}))},
		"a life a second longer":                   {key: key("shop", keystest.Expiring(keystest.Epoch.Add(2160*time.Hour+time.Second))), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{MaxLifetime: "2160h"})), want: v1alpha1.ReasonLifetimeTooLong},
		"a longest life, and no expiration":        {key: key("shop"), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{MaxLifetime: "2160h"}))},
		"a longest life beyond what a clock holds": {key: key("shop", keystest.Expiring(year)), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{MaxLifetime: "999999h999999h999999h"})), want: v1alpha1.ReasonLifetimeTooLong},
		"a life that is counted from now, while being created": {
			key: key("shop", keystest.BeingCreated(), keystest.Expiring(keystest.Epoch.Add(3*time.Hour))), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{MaxLifetime: "2h"})), // now is an hour after Epoch
		},
		"addresses, where they are required":    {key: key("shop", keystest.Whitelist("::1")), account: acct("acme", policy(whitelistRequired))},
		"no addresses, where they are required": {key: key("shop"), account: acct("acme", policy(whitelistRequired)), want: v1alpha1.ReasonIPWhitelistRequired},

		// A stricter policy applies to new keys, and to later changes of the field that it concerns.
		"accepted before expirations were required":  {key: accepted(), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationRequired}))},
		"accepted before expirations were forbidden": {key: accepted(keystest.Expiring(year)), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationForbidden}))},
		"accepted before lives were limited":         {key: accepted(keystest.Expiring(year)), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{MaxLifetime: "1h"}))},
		"accepted before addresses were required":    {key: accepted(), account: acct("acme", policy(whitelistRequired))},
		"the same instant in other words": {
			key:     accepted(keystest.Expiring(year), func(k *v1alpha1.APIKey) { k.Spec.Expiration = year.Format(time.RFC3339) }),
			account: acct("acme", expirations(v1alpha1.ExpirationPolicy{MaxLifetime: "1h"})),
		},
		"an expiration moved to the next second": {
			key: moved(accepted(keystest.Expiring(year)), year.Add(time.Second).Format(time.RFC3339)), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{MaxLifetime: "1h"})), want: v1alpha1.ReasonLifetimeTooLong,
		},
		"an expiration moved to within the policy": {
			key: moved(accepted(keystest.Expiring(year)), keystest.Epoch.Add(time.Hour).Format(time.RFC3339)), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{MaxLifetime: "1h"})),
		},
		"an expiration removed": {
			key: moved(accepted(keystest.Expiring(year)), ""), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationRequired})), want: v1alpha1.ReasonExpirationRequired,
		},
		"an expiration added": {
			key: moved(accepted(), year.Format(time.RFC3339)), account: acct("acme", expirations(v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationForbidden})), want: v1alpha1.ReasonExpirationForbidden,
		},
		"a whitelist removed":   {key: opened(accepted(keystest.Whitelist("::1"))), account: acct("acme", policy(whitelistRequired)), want: v1alpha1.ReasonIPWhitelistRequired},
		"another field changed": {key: relabelled(accepted()), account: acct("acme", policy(whitelistRequired), expirations(v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationRequired}))},
		"an expiration moved, where only addresses are policed": {key: moved(accepted(), year.Format(time.RFC3339)), account: acct("acme", policy(whitelistRequired))},
		"accepted, and never issued": { // inactive under Usable, so not in use
			key: key("shop", keystest.Status(func(s *v1alpha1.APIKeyStatus) { s.IPRestriction = v1alpha1.IPUnrestricted })), account: acct("acme", policy(whitelistRequired)),
			want: v1alpha1.ReasonIPWhitelistRequired,
		},
		"never accepted, though it exists": {
			key: key("shop", keystest.Observed(v1alpha1.StatePending)), account: acct("acme", policy(whitelistRequired)), want: v1alpha1.ReasonIPWhitelistRequired,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := keystest.Settings
			settings.RequireAccount = tc.require
			got := keys.CheckPolicy(keys.Facts{
				Key: tc.key, Account: tc.account, NamespaceLabels: tc.namespace, Siblings: tc.siblings, Settings: settings, Now: keystest.Epoch.Add(time.Hour),
			})
			if diff := cmp.Diff(tc.want, reasonIn(got)); diff != "" {
				t.Errorf("-want +got:\n%s%+v", diff, got)
			}
		})
	}
}

func moved(k *v1alpha1.APIKey, expiration string) *v1alpha1.APIKey {
	k.Spec.Expiration = expiration
	return k
}

func opened(k *v1alpha1.APIKey) *v1alpha1.APIKey {
	k.Spec.IPWhitelist = nil
	return k
}

func relabelled(k *v1alpha1.APIKey) *v1alpha1.APIKey {
	k.Spec.Label = "another"
	return k
}

func reasonIn(r *keys.Violation) string {
	if r == nil {
		return ""
	}
	return r.Reason
}

// The key whose slot records a label has it, or else the oldest key.
func TestCheckPolicy_LabelHolder(t *testing.T) {
	t.Parallel()
	hour := func(n int) keystest.KeyOption {
		return keystest.Created(keystest.Epoch.Add(time.Duration(n) * time.Hour))
	}
	web := keystest.Label("web")
	key := keystest.Key("shop", web, hour(5))
	older, oldest := keystest.Key("older", web, hour(2)), keystest.Key("oldest", web, hour(1))
	younger := keystest.Key("younger", web, hour(9))
	twin, laterTwin := keystest.Key("a", web, hour(5), keystest.UID("aaa")), keystest.Key("z", web, hour(5), keystest.UID("zzz"))
	renamed := keystest.Key("renamed", keystest.Label("old"), hour(1))
	for name, tc := range map[string]struct {
		key      *v1alpha1.APIKey
		slots    []*v1alpha1.APIKey
		siblings []*v1alpha1.APIKey
		options  []keystest.AccountOption
		want     string // the holder in the message; empty: the key has the label
	}{
		"no other key wants it":                                       {key: key},
		"the key itself is among the siblings":                        {key: key, siblings: []*v1alpha1.APIKey{key}},
		"an older key wants it":                                       {key: key, siblings: []*v1alpha1.APIKey{younger, older}, want: "default/older"},
		"two older keys want it: the oldest has it":                   {key: key, siblings: []*v1alpha1.APIKey{older, oldest, key}, want: "default/oldest"},
		"a younger key wants it":                                      {key: key, siblings: []*v1alpha1.APIKey{younger}},
		"a key of the same second, and a smaller UID, wants it":       {key: key, siblings: []*v1alpha1.APIKey{laterTwin, twin}, want: "default/a"},
		"a key of the same second, and a larger UID, wants it":        {key: key, siblings: []*v1alpha1.APIKey{laterTwin}},
		"it is on record as the key's own":                            {key: key, slots: []*v1alpha1.APIKey{key}, siblings: []*v1alpha1.APIKey{oldest}},
		"it is on record as a younger key's":                          {key: key, slots: []*v1alpha1.APIKey{younger}, siblings: []*v1alpha1.APIKey{younger}, want: "default/younger"},
		"a deleted key has it on record":                              {key: key, slots: []*v1alpha1.APIKey{keystest.Key("gone", web)}},
		"it is on record as that of the deleted key of the same name": {key: key, slots: []*v1alpha1.APIKey{keystest.Key("shop", web, keystest.UID("before"))}},
		"another label is on record":                                  {key: key, slots: []*v1alpha1.APIKey{renamed}, siblings: []*v1alpha1.APIKey{older}, want: "default/older"},
		"a key that is being created is the youngest":                 {key: keystest.Key("shop", web, keystest.BeingCreated()), siblings: []*v1alpha1.APIKey{younger}, want: "default/younger"},
		"a key that is being created finds it free":                   {key: keystest.Key("shop", web, keystest.BeingCreated())},
		"a key without a label": {
			key: keystest.Key("shop"), slots: []*v1alpha1.APIKey{keystest.Key("other")}, siblings: []*v1alpha1.APIKey{keystest.Key("other", hour(0))},
		},
		"labels are shared": {
			key: key, slots: []*v1alpha1.APIKey{older}, siblings: []*v1alpha1.APIKey{older},
			options: []keystest.AccountOption{policy(func(a *v1alpha1.AccountSpec) { a.LabelPolicy = v1alpha1.LabelShared })},
		},
		"labels are explicitly unique": {
			key: key, siblings: []*v1alpha1.APIKey{older}, want: "default/older",
			options: []keystest.AccountOption{policy(func(a *v1alpha1.AccountSpec) { a.LabelPolicy = v1alpha1.LabelUnique })},
		},
		"without a limit age alone decides": {key: key, siblings: []*v1alpha1.APIKey{older}, options: []keystest.AccountOption{keystest.Unlimited()}, want: "default/older"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			account := keystest.NewAccount("acme", append(tc.options, keystest.Slots(tc.slots...))...)
			for range 2 {
				got := keys.CheckPolicy(keys.Facts{Key: tc.key, Account: account, Siblings: tc.siblings, Settings: keystest.Settings, Now: keystest.Epoch})
				switch {
				case (got == nil) != (tc.want == ""):
					t.Fatalf("got %+v, want the label to be that of %q", got, tc.want)
				case got != nil && (got.Reason != v1alpha1.ReasonLabelTaken || !strings.Contains(got.Message, "APIKey "+tc.want+":")):
					t.Errorf("got %+v, want %s to be named", got, tc.want)
				}
				slices.Reverse(tc.siblings) // caches list in any order
			}
		})
	}
}

// TestCheckPolicy_MessagesAreBounded uses values of the greatest possible length in each message.
func TestCheckPolicy_MessagesAreBounded(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return strings.Repeat("x", n) }
	wide := func(n int) string { return strings.Repeat("é", n) }
	account := func(options ...keystest.AccountOption) *v1alpha1.Account {
		return keystest.NewAccount(long(63), options...)
	}
	sibling := keystest.Key(long(253), keystest.Namespace(long(63)), keystest.Label("web"), keystest.Created(keystest.Epoch.Add(-time.Hour)))
	var scopes []string
	for range 256 {
		scopes = append(scopes, long(128))
	}
	for name, f := range map[string]keys.Facts{
		"an account that is missing": {Key: keystest.Key("shop", keystest.Account(long(63))), Settings: keys.Settings{RequireAccount: true}},
		"an expiration":              {Key: keystest.Key("shop", keystest.Expiration(wide(300))), Account: account()},
		"a whitelist":                {Key: keystest.Key("shop", keystest.Whitelist(wide(300))), Account: account()},
		"a scope":                    {Key: keystest.Key("shop", keystest.Scopes(long(127)+"y")), Account: account(policy(func(a *v1alpha1.AccountSpec) { a.AllowedScopes = scopes }))},
		"a label's holder":           {Key: keystest.Key("shop", keystest.Label("web")), Account: account(), Siblings: []*v1alpha1.APIKey{sibling}},
		"a namespace":                {Key: keystest.Key("shop", keystest.Namespace(long(63))), Account: account(policy(func(a *v1alpha1.AccountSpec) { a.AllowedNamespaces = team }))},
		"a suspension":               {Key: keystest.Key("shop"), Account: account(keystest.Suspended())},
		"a zone":                     {Key: keystest.Key("shop", keystest.Expiration("2027-01-01")), Account: account(keystest.Zone(long(64)))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f.Now = keystest.Epoch.Add(time.Hour)
			r := keys.CheckPolicy(f)
			if r == nil {
				t.Fatal("nothing against it")
			}
			if len(r.Message) > 256 || len(r.Message) < 20 || !utf8.ValidString(r.Message) || strings.Contains(r.Message, "\n") {
				t.Errorf("%d bytes: %s", len(r.Message), r.Message)
			}
			f.Secret.Ownership = keys.SecretMissing
			if err := checkStatus(keys.Describe(f), nil); err != nil {
				t.Error(err)
			}
		})
	}
}
