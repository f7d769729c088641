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

// expressionsOf returns the regular expressions of a field's CEL rules: each must match, or must not.
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

// TestLabel_EveryCharacter holds the schema's and the code's rule for each character there is against each other.
func TestLabel_EveryCharacter(t *testing.T) {
	t.Parallel()
	must, mustNot := expressionsOf(t, kindOf(t, "APIKey").Schema().Properties["spec"].Properties["label"])
	if len(must) != 1 || len(mustNot) != 1 {
		t.Fatalf("the rules of spec.label are not read: %v, %v", must, mustNot)
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

// TestEmails_AreThoseThatTheMailLibraryTakes generates addresses that the schema admits.
func TestEmails_AreThoseThatTheMailLibraryTakes(t *testing.T) {
	t.Parallel()
	must, _ := expressionsOf(t, *kindOf(t, "APIKey").Schema().Properties["spec"].Properties["notification"].Properties["emails"].Items.Schema)
	if len(must) != 1 {
		t.Fatalf("the rule of spec.notification.emails is not read: %v", must)
	}
	rapid.Check(t, func(t *rapid.T) {
		address := rapid.StringMatching(must[0].String()).Draw(t, "address")
		if err := mail.NewMsg().To(address); err != nil {
			t.Fatalf("%q is admitted, and the mail library refuses it: %v", address, err)
		}
	})
}
