// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wneessen/go-mail"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// expressionsOf returns the regular expressions of a field's CEL rules: those that must match, and those that must not.
func expressionsOf(t *testing.T, s apiextensionsv1.JSONSchemaProps) (must, mustNot []*regexp.Regexp) {
	t.Helper()
	rule := regexp.MustCompile(`^(!?)self\.matches\(r'(.*)'\)$`)
	for _, v := range s.XValidations {
		switch m := rule.FindStringSubmatch(v.Rule); {
		case m == nil:
		case m[1] == "!":
			mustNot = append(mustNot, regexp.MustCompile(m[2]))
		default:
			must = append(must, regexp.MustCompile(m[2]))
		}
	}
	return must, mustNot
}

// TestLabel_SchemaAndCodeAgree checks for every character that the schema and the code both accept or both reject it in
// a label.
func TestLabel_SchemaAndCodeAgree(t *testing.T) {
	t.Parallel()
	must, mustNot := expressionsOf(t, kindOf(t, "APIKey").Schema().Properties["spec"].Properties["label"])
	if len(must) != 1 || len(mustNot) != 1 {
		t.Fatalf("cannot read the rules of spec.label: %v, %v", must, mustNot)
	}
	account := keystest.NewAccount("acme")
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		label := string(r)
		admitted := must[0].MatchString(label) && !mustNot[0].MatchString(label)
		refusal := keys.CheckPolicy(keys.Facts{Key: keystest.Key("shop", keystest.Label(label)), Account: account, Settings: keystest.Settings, Now: generatedNow})
		if admitted != (refusal == nil) {
			t.Errorf("%U: the schema admits it: %t; the code: %v", r, admitted, refusal)
		}
		if refusal != nil && (refusal.Reason != v1alpha1.ReasonInvalidSpec || !strings.HasPrefix(refusal.Message, "spec.label ")) {
			t.Errorf("%U: %v", r, refusal)
		}
	}
}

// TestEmails_AreAcceptedByMailLibrary generates addresses that the schema admits and checks that the mail library
// accepts them.
func TestEmails_AreAcceptedByMailLibrary(t *testing.T) {
	t.Parallel()
	must, _ := expressionsOf(t, *kindOf(t, "APIKey").Schema().Properties["spec"].Properties["notification"].Properties["emails"].Items.Schema)
	if len(must) != 1 {
		t.Fatalf("cannot read the rule of spec.notification.emails: %v", must)
	}
	rapid.Check(t, func(t *rapid.T) {
		address := rapid.StringMatching(must[0].String()).Draw(t, "address")
		if err := mail.NewMsg().To(address); err != nil {
			t.Fatalf("%q is admitted, but the mail library rejects it: %v", address, err)
		}
	})
}
