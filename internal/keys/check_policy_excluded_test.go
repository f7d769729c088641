// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// TestCheckPolicy_HidesAccountFromExcludedNamespaces guesses data of an account in a namespace that the account allows,
// where each wrong guess is refused, and in one that it does not allow, where the answer must not depend on the guess.
func TestCheckPolicy_HidesAccountFromExcludedNamespaces(t *testing.T) {
	t.Parallel()
	for name, guess := range map[string]func(k *v1alpha1.APIKey, right bool){
		"metadata in a template": func(k *v1alpha1.APIKey, right bool) {
			guessInTemplate(k, ".Metadata.tier", "gold", right)
		},
		"the external ID in a template": func(k *v1alpha1.APIKey, right bool) {
			guessInTemplate(k, ".ExternalID", "EXT-7", right)
		},
		"a scope": func(k *v1alpha1.APIKey, right bool) {
			k.Spec.Scopes = []string{either(right, "a:read", "c:write")}
		},
		"a rate limit": func(k *v1alpha1.APIKey, right bool) {
			k.Spec.RateLimits = []v1alpha1.RateLimit{keystest.RateLimit(either(right, "requests", "mails"), 1, v1alpha1.RateLimitMinute)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			facts := func(right bool, namespace map[string]string) keys.Facts {
				k, a := rich(map[string]string{"key": "{{ .Key }}"})
				guess(k, right)
				a.Spec.Metadata = map[string]v1alpha1.MetadataValue{"tier": "gold"}
				a.Spec.AllowedScopes = []string{"a:read", "b:*"}
				a.Spec.RateLimits = accountRateLimits[:1]
				a.Spec.AllowedNamespaces = team
				return keys.Facts{Key: k, Account: a, NamespaceLabels: namespace, Settings: keystest.Settings, Now: keystest.Epoch}
			}
			if got := keys.Violations(facts(false, team.MatchLabels)); len(got) == 0 || got[0].Reason == v1alpha1.ReasonNamespaceNotAllowed {
				t.Errorf("a wrong guess in an allowed namespace gives %v", got)
			}
			right, wrong := facts(true, nil), facts(false, nil)
			if diff := cmp.Diff(keys.CheckPolicy(right), keys.CheckPolicy(wrong)); diff != "" {
				t.Errorf("CheckPolicy depends on the guess (-right +wrong)\n%s", diff)
			}
			if diff := cmp.Diff(keys.Violations(right), keys.Violations(wrong)); diff != "" {
				t.Errorf("Violations depends on the guess (-right +wrong)\n%s", diff)
			}
			if r := keys.CheckPolicy(wrong); r == nil || r.Reason != v1alpha1.ReasonNamespaceNotAllowed {
				t.Errorf("an excluded namespace gives %+v", r)
			}
		})
	}
}

// guessInTemplate gives a key a template that cannot be rendered if a value of the account is not the guessed one.
func guessInTemplate(k *v1alpha1.APIKey, value, actual string, right bool) {
	k.Spec.Secret.Template.Data["x"] = `{{ if ne ` + value + ` "` + either(right, actual, "wrong") + `" }}{{ index .Scopes 99 }}{{ end }}`
}

func either(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}
