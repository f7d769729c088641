// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// EffectiveRateLimits returns the rate limits that apply to a key: those of its account, each lowered to the rate limit
// of the same name and unit that the key has. Rate limits of the key that would allow more than the account does have no
// effect. The lists are not changed.
func EffectiveRateLimits(own, account []v1alpha1.RateLimit) []v1alpha1.RateLimit {
	if len(own) == 0 {
		return account
	}
	effective := slices.Clone(account)
	for i := range effective {
		if lowered := rateLimitNamed(own, effective[i].Name); lowered != nil && lowersRateLimit(*lowered, effective[i]) {
			effective[i].Requests = lowered.Requests
		}
	}
	return effective
}

func rateLimitNamed(list []v1alpha1.RateLimit, name string) *v1alpha1.RateLimit {
	i := slices.IndexFunc(list, func(l v1alpha1.RateLimit) bool { return l.Name == name })
	if i < 0 {
		return nil
	}
	return &list[i]
}

// lowersRateLimit reports whether a rate limit has the unit of another and allows no more requests.
func lowersRateLimit(own, account v1alpha1.RateLimit) bool {
	return own.Unit == account.Unit && requestsOf(own) <= requestsOf(account)
}

// requestsOf returns the number of requests of a rate limit. It is 0 for one without a number, which the schema refuses.
func requestsOf(l v1alpha1.RateLimit) int32 {
	if l.Requests == nil {
		return 0
	}
	return *l.Requests
}

// checkRateLimits refuses rate limits of a key that do not lower one of its account.
func checkRateLimits(f Facts) *Violation {
	if f.Account == nil {
		return nil
	}
	for _, own := range f.Key.Spec.RateLimits {
		account := rateLimitNamed(f.Account.Spec.RateLimits, own.Name)
		switch {
		case account == nil:
			return violationf(
				v1alpha1.ReasonRateLimitNotAllowed,
				"Account %s has no rate limit %s, so spec.rateLimits cannot lower it: remove it from the key, or add it to the account",
				f.Account.Name, own.Name,
			)
		case own.Unit != account.Unit:
			return violationf(
				v1alpha1.ReasonRateLimitNotAllowed,
				"Rate limit %s of account %s is per %s: set the unit in spec.rateLimits to %s",
				own.Name, f.Account.Name, account.Unit, account.Unit,
			)
		case !lowersRateLimit(own, *account):
			return violationf(
				v1alpha1.ReasonRateLimitNotAllowed,
				"Account %s allows at most %d requests per %s for rate limit %s: lower it in spec.rateLimits, or remove it",
				f.Account.Name, requestsOf(*account), account.Unit, own.Name,
			)
		}
	}
	return nil
}
