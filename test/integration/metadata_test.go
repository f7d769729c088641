// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

var _ = Describe("Metadata and plans", func() {
	var (
		namespace string
		account   *v1alpha1.Account
		m         *manager
	)
	BeforeEach(func(ctx SpecContext) {
		namespace = newNamespace(ctx, nil)
		m = startManager(ctx, managerOptions{})
		account = newAccount(uniqueName("acme"), func(a *v1alpha1.AccountSpec) {
			a.Plan = "free"
			a.Metadata = map[string]v1alpha1.MetadataValue{"tier": "basic"}
			a.RateLimits = []v1alpha1.RateLimit{perMinute("requests", 100)}
		})
		create(ctx, account)
	})
	issued := func(ctx SpecContext, name string, changes ...func(*v1alpha1.APIKeySpec)) *v1alpha1.APIKey {
		GinkgoHelper()
		k := newKey(namespace, name, account.Name, changes...)
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		return k
	}
	// changed changes the account and returns the requests of the manager, except for those of watches and leases.
	changed := func(ctx SpecContext, change func(*v1alpha1.AccountSpec)) []request {
		GinkgoHelper()
		recorder.awaitQuiet(ctx)
		m.traffic.reset()
		read(ctx, account)
		changeAccount(ctx, account, change)
		awaitAccount(ctx, account, func(g Gomega) { g.Expect(account.Status.ObservedGeneration).To(Equal(account.Generation)) })
		recorder.awaitQuiet(ctx)
		return m.traffic.all(func(r request) bool { return r.resource != "" && !r.watch && r.resource != "leases" })
	}

	It("cause no request for keys whose Secret does not depend on them", func(ctx SpecContext) {
		issued(ctx, "plain", func(k *v1alpha1.APIKeySpec) { k.Metadata = map[string]v1alpha1.MetadataValue{"team": "shop"} })
		issued(ctx, "template", template(v1alpha1.SecretTemplate{Data: map[string]string{"token": "{{ .Key }}", "company": "{{ .ExternalID }}"}}))
		issued(ctx, "labels", template(v1alpha1.SecretTemplate{Labels: map[string]string{"team": "shop"}}))
		rounds := reconcileCount()
		requests := changed(ctx, func(a *v1alpha1.AccountSpec) {
			a.Plan = "pro"
			a.Metadata = map[string]v1alpha1.MetadataValue{"tier": "gold", "region": "eu"}
			a.RateLimits = []v1alpha1.RateLimit{perMinute("requests", 50), perMinute("mails", 10)}
		})
		Expect(reconcileCount()-rounds).To(BeNumerically(">=", 4), "the account or a key was not reconciled")
		Expect(requests).To(HaveLen(1), "only the status of the account is written")
		Expect(requests[0].String()).To(HaveSuffix("/accounts/" + account.Name + "/status"))
	})

	It("render the Secrets again whose template uses them, with the same key", func(ctx SpecContext) {
		k := issued(ctx, "shop", func(k *v1alpha1.APIKeySpec) {
			k.Metadata = map[string]v1alpha1.MetadataValue{"team": "shop", "tier": "gold"}
			template(v1alpha1.SecretTemplate{Data: map[string]string{"token": "{{ .Key }}", "who": "{{ .Metadata.team }}/{{ .Metadata.tier }}"}})(k)
		})
		before := secretOf(ctx, k).Data
		Expect(string(before["who"])).To(Equal("shop/basic"), "an entry of the account takes precedence")
		changed(ctx, func(a *v1alpha1.AccountSpec) { a.Metadata["tier"] = "silver" })
		Expect(m.traffic.writes()).To(And(HaveKeyWithValue("PUT secrets", 1), HaveKeyWithValue("PUT apikeys/status", 1), HaveLen(3)))
		after := secretOf(ctx, k).Data
		Expect(string(after["who"])).To(Equal("shop/silver"))
		Expect(string(after["token"]) == string(before["token"])).To(BeTrue(), "the key changed")

		By("changing the metadata of the key")
		change(ctx, k, func(k *v1alpha1.APIKeySpec) { k.Metadata["team"] = "store" })
		Eventually(func() string { return string(secretOf(ctx, k).Data["who"]) }).WithContext(ctx).Should(Equal("store/silver"))

		By("removing an entry that the template requires")
		change(ctx, k, func(k *v1alpha1.APIKeySpec) { delete(k.Metadata, "team") })
		becomeNotAccepted(ctx, v1alpha1.ReasonInvalidSpec, k)
		Expect(message(k.Status.Conditions, v1alpha1.ConditionAccepted)).To(ContainSubstring(`template: who:1:12: map has no entry for key "team"`))
		Expect(secretOf(ctx, k).Data).To(HaveKey("token"), "the Secret is left as it is")
		change(ctx, k, func(k *v1alpha1.APIKeySpec) { k.Metadata["team"] = "shop" })
		become(ctx, v1alpha1.StateActive, k)
		Expect(string(secretOf(ctx, k).Data["token"]) == string(before["token"])).To(BeTrue(), "the key changed")
		Expect(secretOf(ctx, k).Annotations).To(HaveKey(keys.AnnotationTemplateHash))
	})
})
