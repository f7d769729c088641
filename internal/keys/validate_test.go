// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func TestValidateAPIKey(t *testing.T) {
	t.Parallel()
	spec := func(change func(*v1alpha1.APIKeySpec)) keystest.KeyOption {
		return func(k *v1alpha1.APIKey) { change(&k.Spec) }
	}
	for name, tc := range map[string]struct {
		option keystest.KeyOption
		want   []string // the field of each error, and a word of its remedy
	}{
		"a key as most are":              {keystest.Label("web"), nil},
		"a date":                         {keystest.Expiration("2027-02-28"), nil},
		"a day that does not exist":      {keystest.Expiration("2027-02-30"), []string{"spec.expiration 2027-02-28"}},
		"no whitelist":                   {keystest.Whitelist(), nil},
		"an empty whitelist":             {func(k *v1alpha1.APIKey) { k.Spec.IPWhitelist = []string{} }, []string{"spec.ipWhitelist omit the field"}},
		"addresses and networks":         {keystest.Whitelist("192.0.2.7", "10.0.0.0/8", "2001:db8::/32", "::1"), nil},
		"a network with host bits":       {keystest.Whitelist("192.0.2.7", "10.0.0.1/8"), []string{"spec.ipWhitelist[1] 10.0.0.0/8"}},
		"each invalid entry is reported": {keystest.Whitelist("a", "::1", "b"), []string{"spec.ipWhitelist[0] address", "spec.ipWhitelist[2] address"}},
		"an interval under a minute":     {spec(func(s *v1alpha1.APIKeySpec) { s.Rotation = &v1alpha1.Rotation{Interval: "59s"} }), []string{"spec.rotation.interval at least 1m"}},
		"an overlap longer than the interval": {
			spec(func(s *v1alpha1.APIKeySpec) { s.Rotation = &v1alpha1.Rotation{Interval: "1h", Overlap: "2h"} }),
			[]string{"spec.rotation.overlap not be longer than interval"},
		},
		"a template with a label that is none": {
			spec(func(s *v1alpha1.APIKeySpec) {
				s.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{Labels: map[string]string{"team": "a b"}}}
			}),
			[]string{"spec.secret.template.labels[team] a valid label"},
		},
		"the name of a Secret":               {keystest.SecretName("other"), nil},
		"the format that there is":           {keystest.Format(v1alpha1.Format{Type: v1alpha1.FormatToken, Prefix: "live"}), nil},
		"a prefix that is none":              {keystest.Format(v1alpha1.Format{Prefix: "A_b"}), []string{"spec.format.prefix lower-case"}},
		"a state that this release knows":    {keystest.State(v1alpha1.KeyStateRevoked), nil},
		"no state, which means Active":       {keystest.State(""), nil},
		"a state that this release does not": {keystest.State("Paused"), []string{"spec.state Active"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			errs := keys.ValidateAPIKey(keystest.Key("shop", tc.option))
			var fields []string
			for i, err := range errs {
				fields = append(fields, err.Field)
				if i < len(tc.want) {
					if _, remedy, _ := strings.Cut(tc.want[i], " "); !strings.Contains(err.Error(), remedy) {
						t.Errorf("%q does not say what to do: %s", err, remedy)
					}
				}
			}
			var want []string
			for _, w := range tc.want {
				field, _, _ := strings.Cut(w, " ")
				want = append(want, field)
			}
			if diff := cmp.Diff(want, fields); diff != "" {
				t.Errorf("-want +got:\n%s%v", diff, errs)
			}
		})
	}
}

func TestParseNetwork(t *testing.T) {
	t.Parallel()
	for entry, want := range map[string]string{
		"192.0.2.7":             "192.0.2.7/32",
		"10.0.0.0/8":            "10.0.0.0/8",
		"0.0.0.0/0":             "0.0.0.0/0",
		"192.0.2.7/32":          "192.0.2.7/32",
		"2001:db8::1":           "2001:db8::1/128",
		"2001:DB8::/32":         "2001:db8::/32",
		"::/0":                  "::/0",
		"::1":                   "::1/128",
		"":                      "",
		"10.0.0.1/8":            "",
		"10.0.0.0/33":           "",
		"10.0.0.0/-1":           "",
		"10.0.0.0/08":           "",
		"10.0.0.0/8\u0020":      "",
		"10.0.0.0/255.0.0.0":    "",
		"10.0.0":                "",
		"010.0.0.1":             "",
		"10.0.0.1:80":           "",
		"[::1]":                 "",
		"fe80::1%eth0":          "",
		"fe80::%eth0/64":        "",
		"::ffff:192.0.2.7":      "",
		"::ffff:192.0.2.0/120":  "",
		"::ffff:c000:207":       "",
		"2001:db8::1/32":        "",
		"example.com":           "",
		"192.0.2.1-192.0.2.254": "",
	} {
		got, err := keys.ParseNetwork(entry)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q gives %s", entry, got)
		case want != "" && (err != nil || got.String() != want):
			t.Errorf("%q gives %s (%v), want %s", entry, got, err, want)
		}
	}
}

func TestValidateAccount(t *testing.T) {
	t.Parallel()
	bad := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Near"}}}
	for name, tc := range map[string]struct {
		option keystest.AccountOption
		want   string
	}{
		"an account as most are":        {keystest.Zone("Europe/Madrid"), ""},
		"no zone":                       {keystest.Zone(""), ""},
		"a zone that does not exist":    {keystest.Zone("Mars/Base"), "spec.timeZone"},
		"the machine's zone":            {keystest.Zone("Local"), "spec.timeZone"},
		"a selector":                    {keystest.Policy(func(a *v1alpha1.AccountSpec) { a.AllowedNamespaces = &metav1.LabelSelector{} }), ""},
		"a selector that selects badly": {keystest.Policy(func(a *v1alpha1.AccountSpec) { a.AllowedNamespaces = bad }), "spec.allowedNamespaces"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			errs := keys.ValidateAccount(keystest.NewAccount("acme", tc.option))
			got := ""
			if len(errs) > 0 {
				got = errs[0].Field
			}
			if got != tc.want || len(errs) > 1 {
				t.Errorf("got %v, want %q", errs, tc.want)
			}
		})
	}
}
