// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func perMinute(name string, requests int32) v1alpha1.RateLimit {
	return keystest.RateLimit(name, requests, v1alpha1.RateLimitMinute)
}

// rateLimits returns a change that sets spec.rateLimits of a key.
func rateLimits(list ...v1alpha1.RateLimit) func(*v1alpha1.APIKeySpec) {
	return func(k *v1alpha1.APIKeySpec) { k.RateLimits = list }
}

var _ = Describe("Rate limits", func() {
	var (
		namespace string
		account   *v1alpha1.Account
	)
	BeforeEach(func(ctx SpecContext) {
		namespace = newNamespace(ctx, nil)
		account = newAccount(uniqueName("acme"), func(a *v1alpha1.AccountSpec) {
			a.RateLimits = []v1alpha1.RateLimit{perMinute("requests", 100), perMinute("mails", 10)}
		})
	})
	tooHigh := "RateLimitNotAllowed: Account %s allows at most 100 requests per Minute for rate limit requests: lower it in spec.rateLimits, or remove it"
	otherUnit := "RateLimitNotAllowed: Rate limit requests of account %s is per Minute: set the unit in spec.rateLimits to Minute"
	unknown := "RateLimitNotAllowed: Account %s has no rate limit tokens, so spec.rateLimits cannot lower it: remove it from the key, or add it to the account"

	It("of a key that do not lower those of the account are denied on creation and update", func(ctx SpecContext) {
		startManagerWithWebhooks(ctx, managerOptions{})
		create(ctx, account)
		k := newKey(namespace, "shop", account.Name, rateLimits(perMinute("requests", 100)))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		for want, l := range map[string]v1alpha1.RateLimit{
			tooHigh:   perMinute("requests", 101),
			otherUnit: keystest.RateLimit("requests", 1, v1alpha1.RateLimitDay),
			unknown:   perMinute("tokens", 1),
		} {
			denied := MatchError(ContainSubstring(want, account.Name))
			Expect(admin.Create(ctx, newKey(namespace, "web", account.Name, rateLimits(perMinute("mails", 1), l)), client.DryRunAll)).To(denied)
			read(ctx, k)
			Expect(tryChange(ctx, k, rateLimits(l))).To(denied)
		}
		read(ctx, k)
		change(ctx, k, rateLimits(perMinute("requests", 0), perMinute("mails", 10)))
		become(ctx, v1alpha1.StateActive, k)
	})

	It("of an account bind its keys immediately, and a key is accepted again once they allow it", func(ctx SpecContext) {
		startManager(ctx, managerOptions{})
		create(ctx, account)
		lowered := newKey(namespace, "lowered", account.Name, rateLimits(perMinute("requests", 50)))
		other := newKey(namespace, "other", account.Name)
		create(ctx, lowered, other)
		become(ctx, v1alpha1.StateActive, lowered, other)
		material := materialOf(ctx, lowered)
		policy := func(list ...v1alpha1.RateLimit) {
			GinkgoHelper()
			read(ctx, account)
			changeAccount(ctx, account, func(a *v1alpha1.AccountSpec) { a.RateLimits = list })
		}
		for _, list := range [][]v1alpha1.RateLimit{
			{perMinute("requests", 49)}, {keystest.RateLimit("requests", 100, v1alpha1.RateLimitSecond)}, {perMinute("mails", 10)}, nil,
		} {
			policy(list...)
			becomeNotAccepted(ctx, v1alpha1.ReasonRateLimitNotAllowed, lowered)
			Expect(verdict(lowered.Status.Conditions, v1alpha1.ConditionStalled)).To(Equal("True/RateLimitNotAllowed"))
			Expect(verdict(lowered.Status.Conditions, v1alpha1.ConditionValid)).To(Equal("False/NotAccepted"))
			policy(perMinute("requests", 50))
			become(ctx, v1alpha1.StateActive, lowered)
			Expect(materialOf(ctx, lowered) == material).To(BeTrue(), "the key came back as another one")
		}
		By("lowering the key's first")
		change(ctx, lowered, rateLimits(perMinute("requests", 5)))
		policy(perMinute("requests", 5))
		recorder.awaitQuiet(ctx)
		become(ctx, v1alpha1.StateActive, lowered, other)
	})

	It("of two field managers are merged by name", func(ctx SpecContext) {
		apply := func(owner string, limits ...any) {
			GinkgoHelper()
			o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"rateLimits": limits}}}
			o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Account"))
			o.SetName(account.Name)
			if len(limits) == 0 {
				o.Object["spec"] = map[string]any{}
			}
			Expect(admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner(owner))).To(Succeed())
		}
		entry := func(name string, requests int64) any {
			return map[string]any{"name": name, "requests": requests, "unit": "Minute"}
		}
		apply("sales", entry("requests", 100))
		apply("operations", entry("mails", 10))
		apply("sales", entry("requests", 200))
		read(ctx, account)
		Expect(account.Spec.RateLimits).To(ConsistOf(perMinute("requests", 200), perMinute("mails", 10)))
		apply("operations")
		read(ctx, account)
		Expect(account.Spec.RateLimits).To(ConsistOf(perMinute("requests", 200)))
	})
})
