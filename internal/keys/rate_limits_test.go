// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// The account of these tests allows 100 requests per minute and 1000 mails per day.
var accountRateLimits = []v1alpha1.RateLimit{keystest.RateLimit("requests", 100, v1alpha1.RateLimitMinute), keystest.RateLimit("mails", 1000, v1alpha1.RateLimitDay)}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		own, account []v1alpha1.RateLimit
		// violation is "" if the key is accepted.
		violation string
		want      []v1alpha1.RateLimit
	}{
		"none": {},
		"of the account": {
			account: accountRateLimits, want: accountRateLimits,
		},
		"lowered": {
			own: []v1alpha1.RateLimit{keystest.RateLimit("requests", 10, v1alpha1.RateLimitMinute)}, account: accountRateLimits,
			want: []v1alpha1.RateLimit{keystest.RateLimit("requests", 10, v1alpha1.RateLimitMinute), accountRateLimits[1]},
		},
		"lowered to nothing": {
			own: []v1alpha1.RateLimit{keystest.RateLimit("mails", 0, v1alpha1.RateLimitDay)}, account: accountRateLimits,
			want: []v1alpha1.RateLimit{accountRateLimits[0], keystest.RateLimit("mails", 0, v1alpha1.RateLimitDay)},
		},
		"the same": {own: accountRateLimits, account: accountRateLimits, want: accountRateLimits},
		"higher": {
			own: []v1alpha1.RateLimit{keystest.RateLimit("requests", 101, v1alpha1.RateLimitMinute)}, account: accountRateLimits,
			violation: "Account acme allows at most 100 requests per Minute for rate limit requests: lower it in spec.rateLimits, or remove it",
			want:      accountRateLimits,
		},
		"of another unit": {
			own: []v1alpha1.RateLimit{keystest.RateLimit("requests", 1, v1alpha1.RateLimitHour)}, account: accountRateLimits,
			violation: "Rate limit requests of account acme is per Minute: set the unit in spec.rateLimits to Minute", want: accountRateLimits,
		},
		"unknown to the account": {
			own: []v1alpha1.RateLimit{keystest.RateLimit("tokens", 1, v1alpha1.RateLimitHour)}, account: accountRateLimits,
			violation: "Account acme has no rate limit tokens, so spec.rateLimits cannot lower it: remove it from the key, or add it to the account",
			want:      accountRateLimits,
		},
		"of an account without": {
			own:       []v1alpha1.RateLimit{keystest.RateLimit("requests", 1, v1alpha1.RateLimitMinute)},
			violation: "Account acme has no rate limit requests, so spec.rateLimits cannot lower it: remove it from the key, or add it to the account",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if v := keys.CheckPolicy(factsWithRateLimits(c.own, c.account)); v != nil {
				if got = v.Message; v.Reason != v1alpha1.ReasonRateLimitNotAllowed {
					t.Errorf("the reason is %s", v.Reason)
				}
			}
			if got != c.violation {
				t.Errorf("the violation is %q, want %q", got, c.violation)
			}
			if diff := cmp.Diff(c.want, keys.EffectiveRateLimits(c.own, c.account)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func factsWithRateLimits(own, account []v1alpha1.RateLimit) keys.Facts {
	return keys.Facts{
		Key:     &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop"}, Spec: v1alpha1.APIKeySpec{Account: "acme", RateLimits: own}},
		Account: &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme"}, Spec: v1alpha1.AccountSpec{RateLimits: account}},
	}
}
