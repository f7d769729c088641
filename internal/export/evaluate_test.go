// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func TestSelects(t *testing.T) {
	t.Parallel()
	partner := func(a *v1alpha1.Account) { a.Labels = map[string]string{"tier": "partner"} }
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "partner"}}
	defaults := keystest.Policy(func(s *v1alpha1.AccountSpec) { s.KeyDefaults = &v1alpha1.KeyDefaults{Scopes: []string{"a"}} })
	for name, tt := range map[string]struct {
		spec    func(*v1alpha1.KeyExportSpec)
		key     keystest.KeyOption
		account *v1alpha1.Account
		labels  map[string]string
		want    bool
	}{
		"no criteria":                      {nil, nil, keystest.NewAccount("acme"), nil, true},
		"account":                          {func(s *v1alpha1.KeyExportSpec) { s.Accounts = []string{"globex", "acme"} }, nil, keystest.NewAccount("acme"), nil, true},
		"another account":                  {func(s *v1alpha1.KeyExportSpec) { s.Accounts = []string{"globex"} }, nil, keystest.NewAccount("acme"), nil, false},
		"labels of the account":            {func(s *v1alpha1.KeyExportSpec) { s.AccountSelector = selector }, nil, keystest.NewAccount("acme", partner), nil, true},
		"other labels of the account":      {func(s *v1alpha1.KeyExportSpec) { s.AccountSelector = selector }, nil, keystest.NewAccount("acme"), map[string]string{"tier": "partner"}, false},
		"no account":                       {func(s *v1alpha1.KeyExportSpec) { s.AccountSelector = &metav1.LabelSelector{} }, nil, nil, nil, false},
		"labels of the namespace":          {func(s *v1alpha1.KeyExportSpec) { s.NamespaceSelector = selector }, nil, keystest.NewAccount("acme"), map[string]string{"tier": "partner"}, true},
		"other labels of the namespace":    {func(s *v1alpha1.KeyExportSpec) { s.NamespaceSelector = selector }, nil, keystest.NewAccount("acme", partner), map[string]string{}, false},
		"an unknown namespace":             {func(s *v1alpha1.KeyExportSpec) { s.NamespaceSelector = &metav1.LabelSelector{} }, nil, keystest.NewAccount("acme"), nil, false},
		"scopes":                           {func(s *v1alpha1.KeyExportSpec) { s.Scopes = []string{"a", "r:1"} }, keystest.Scopes("a", "r:*"), keystest.NewAccount("acme"), nil, true},
		"one scope missing":                {func(s *v1alpha1.KeyExportSpec) { s.Scopes = []string{"a", "b"} }, keystest.Scopes("a", "r:*"), keystest.NewAccount("acme"), nil, false},
		"narrower scope":                   {func(s *v1alpha1.KeyExportSpec) { s.Scopes = []string{"r:*"} }, keystest.Scopes("r:1"), keystest.NewAccount("acme"), nil, false},
		"default scopes of the account":    {func(s *v1alpha1.KeyExportSpec) { s.Scopes = []string{"a"} }, nil, keystest.NewAccount("acme", defaults), nil, true},
		"all criteria, and one is not met": {func(s *v1alpha1.KeyExportSpec) { s.Accounts, s.Scopes = []string{"acme"}, []string{"b"} }, nil, keystest.NewAccount("acme", defaults), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCandidate("shop")
			if tt.key != nil {
				tt.key(c.Key)
			}
			c.Account, c.NamespaceLabels = tt.account, tt.labels
			x := compiled(t, tt.spec)
			if got := x.Selects(c); got != tt.want {
				t.Errorf("got %t", got)
			}
			if got := x.Evaluate(c, epoch); len(got.Credentials) > 0 != (tt.want && tt.account != nil) {
				t.Errorf("evaluated: %+v", got)
			}
		})
	}
}

func policyOf(p v1alpha1.ExportPolicy) keystest.AccountOption {
	return keystest.Policy(func(s *v1alpha1.AccountSpec) { s.ExportPolicy = p })
}

func TestEvaluate(t *testing.T) {
	t.Parallel()
	include := func(s *v1alpha1.KeyExportSpec) { s.AddressRestricted = v1alpha1.AddressRestrictedInclude }
	shop := keystest.CredentialOf("default/shop").SHA256
	for name, tt := range map[string]struct {
		spec     func(*v1alpha1.KeyExportSpec)
		key      keystest.KeyOption
		account  keystest.AccountOption
		shadowed []string
		want     int
		withheld string
		next     time.Time
	}{
		"valid":                          {want: 1},
		"inactive":                       {key: keystest.State(v1alpha1.KeyStateInactive)},
		"suspended account":              {account: keystest.Suspended()},
		"digests by default":             {account: policyOf(""), want: 1},
		"digests allowed":                {account: policyOf(v1alpha1.ExportDigest), want: 1},
		"digests allowed by Key":         {account: policyOf(v1alpha1.ExportKey), want: 1},
		"forbidden":                      {account: policyOf(v1alpha1.ExportForbid), withheld: v1alpha1.ReasonExportNotAllowed},
		"an unknown policy":              {account: policyOf("All"), withheld: v1alpha1.ReasonExportNotAllowed},
		"keys allowed":                   {spec: toSecrets, account: policyOf(v1alpha1.ExportKey), want: 1},
		"keys not allowed by default":    {spec: toSecrets, withheld: v1alpha1.ReasonExportNotAllowed},
		"keys not allowed":               {spec: toSecrets, account: policyOf(v1alpha1.ExportDigest), withheld: v1alpha1.ReasonExportNotAllowed},
		"forbidden but inactive":         {key: keystest.State(v1alpha1.KeyStateInactive), account: policyOf(v1alpha1.ExportForbid)},
		"whitelist":                      {key: keystest.Whitelist("192.0.2.1"), withheld: v1alpha1.ReasonAddressRestricted},
		"whitelist, included":            {spec: include, key: keystest.Whitelist("192.0.2.1"), want: 1},
		"whitelist without addresses":    {spec: include, key: keystest.Whitelist("nonsense")},
		"empty whitelist":                {key: keystest.Whitelist([]string{}...)},
		"forbidden, with whitelist":      {key: keystest.Whitelist("192.0.2.1"), account: policyOf(v1alpha1.ExportForbid), withheld: v1alpha1.ReasonExportNotAllowed},
		"shadowed":                       {shadowed: []string{shop}, withheld: v1alpha1.ReasonDuplicateKey},
		"another credential is shadowed": {key: keystest.WithCredential("staged", v1alpha1.RoleStaged, epoch), shadowed: []string{shop}, want: 1, withheld: v1alpha1.ReasonDuplicateKey},
		"all roles": {key: func(k *v1alpha1.APIKey) {
			keystest.WithCredential("staged", v1alpha1.RoleStaged, epoch)(k)
			keystest.WithCredential("before", v1alpha1.RolePrevious, epoch)(k)
		}, want: 3},
		"expiring":               {key: keystest.Expiring(epoch.Add(time.Hour)), want: 1, next: epoch.Add(time.Hour)},
		"expiring, but withheld": {key: keystest.Expiring(epoch.Add(time.Hour)), account: policyOf(v1alpha1.ExportForbid), withheld: v1alpha1.ReasonExportNotAllowed, next: epoch.Add(time.Hour)},
		"expired":                {key: keystest.Expiring(epoch)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCandidate("shop")
			if tt.key != nil {
				tt.key(c.Key)
			}
			if tt.account != nil {
				tt.account(c.Account)
			}
			c.Shadowed = tt.shadowed
			got := compiled(t, tt.spec).Evaluate(c, epoch)
			if len(got.Credentials) != tt.want || got.Withheld != tt.withheld || !got.Next.Equal(tt.next) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// A version of an account is evaluated once, and a later version is not taken for it.
func TestEvaluate_AccountChanges(t *testing.T) {
	t.Parallel()
	x, c := compiled(t, nil), newCandidate("shop")
	want := []int{1, 0, 1}
	var got []int
	for i, options := range [][]keystest.AccountOption{{keystest.Version("1")}, {keystest.Version("2"), keystest.Suspended()}, {keystest.Version("3")}} {
		c.Account = keystest.NewAccount("acme", options...)
		got = append(got, len(x.Evaluate(c, epoch.Add(time.Duration(i))).Credentials))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	c.Account = keystest.NewAccount("acme", keystest.Version("3"), keystest.Suspended())
	c.Account.UID = "uid-again"
	if e := x.Evaluate(c, epoch); len(e.Credentials) > 0 {
		t.Error("the account that was created again is taken for the former one")
	}
}
