// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func TestLabelForm(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]string{
		"":                       "",
		"Shop":                   "Shop",
		"shop":                   "shop",
		" Shop ":                 "Shop",
		"Shop  1":                "Shop 1",
		"Shop\u00a01":            "Shop 1",
		"Shop\u30001":            "Shop 1",
		"Sho\u200bp":             "Shop",
		"Sho\u00adp":             "Shop",
		"Shop\ufeff":             "Shop",
		"\u2067Shop\u2069":       "Shop",
		"Shop\ufe0f":             "Shop",
		"S\u034fhop":             "Shop",
		"Shop\U000e0041":         "Shop",
		"Ｓｈｏｐ":                   "Shop",
		"Almace\u0301n":          "Almacén",
		"Almace\u200b\u0301n":    "Almacén",
		"ﬁle":                    "file",
		" \u3164\u2800 ":         "",
		"Clave para integración": "Clave para integración",
	} {
		if got := keys.LabelForm(label); got != want {
			t.Errorf("LabelForm(%+q) = %+q, want %+q", label, got, want)
		}
	}
}

func TestLabelForm_IsIdempotent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		form := keys.LabelForm(rapid.String().Draw(t, "label"))
		if again := keys.LabelForm(form); again != form {
			t.Fatalf("the form of %+q is %+q", form, again)
		}
		if strings.TrimSpace(form) != form {
			t.Fatalf("%+q has white space at an end", form)
		}
	})
}

func TestCheckPolicy_LookalikeLabelIsTaken(t *testing.T) {
	t.Parallel()
	older := keystest.Key("older", keystest.Label("Shop"), keystest.Created(now.Add(-time.Hour)))
	younger := keystest.Key("younger", keystest.Label("Sho\u200bp "), keystest.Created(now))
	for name, account := range map[string]*v1alpha1.Account{
		"none has a slot":      keystest.NewAccount("acme"),
		"the older has a slot": keystest.NewAccount("acme", keystest.Slots(older)),
	} {
		f := keys.Facts{Key: younger, Account: account, Settings: keystest.Settings, Now: now, Siblings: []*v1alpha1.APIKey{older}}
		if r := keys.CheckPolicy(f); r == nil || r.Reason != v1alpha1.ReasonLabelTaken {
			t.Errorf("%s: the younger: %v, want LabelTaken", name, r)
		}
	}
	if keys.AccountLabel(older) != keys.AccountLabel(younger) {
		t.Error("the index has them apart, so that neither is a sibling of the other")
	}
}

// Before labels were compared in their normalized form, two keys could have labels that look the same. Both keep them.
func TestCheckPolicy_IssuedKeysKeepLabels(t *testing.T) {
	t.Parallel()
	a, b := keystest.Key("a", keystest.Label("Shop")), keystest.Key("b", keystest.Label("Shop "))
	account := keystest.NewAccount("acme", keystest.Slots(a, b))
	for k, sibling := range map[*v1alpha1.APIKey]*v1alpha1.APIKey{a: b, b: a} {
		f := keys.Facts{Key: k, Account: account, Settings: keystest.Settings, Now: now, Siblings: []*v1alpha1.APIKey{sibling}}
		if r := keys.CheckPolicy(f); r != nil {
			t.Errorf("%s: %v", k.Name, r)
		}
	}
	issued := keystest.Key("c", keystest.Label("line\nbreak"), keystest.Issued(now))
	if r := keys.CheckPolicy(keys.Facts{Key: issued, Account: keystest.NewAccount("acme"), Settings: keystest.Settings, Now: now}); r != nil {
		t.Errorf("a label of before: %v", r)
	}
}
