// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

var _ = Describe("A change of an account's policy", func() {
	var (
		namespace string
		account   *v1alpha1.Account
	)
	BeforeEach(func(ctx SpecContext) {
		namespace = newNamespace(ctx, map[string]string{"team": "a"})
		startManager(ctx, managerOptions{})
		account = newAccount(uniqueName("acme"))
		create(ctx, account)
	})
	issued := func(ctx SpecContext, changes ...func(*v1alpha1.APIKeySpec)) (*v1alpha1.APIKey, string) {
		GinkgoHelper()
		k := newKey(namespace, uniqueName("key"), account.Name, changes...)
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		return k, materialOf(ctx, k)
	}
	policy := func(ctx SpecContext, change func(*v1alpha1.AccountSpec)) {
		GinkgoHelper()
		read(ctx, account)
		changeAccount(ctx, account, change)
	}
	back := func(ctx SpecContext, k *v1alpha1.APIKey, material string) {
		GinkgoHelper()
		become(ctx, v1alpha1.StateActive, k)
		Expect(materialOf(ctx, k) == material).To(BeTrue(), "the key came back as another one")
		Expect(k.Status.Credentials).To(HaveLen(1))
	}

	It("suspends its keys immediately, and makes them valid again", func(ctx SpecContext) {
		k, material := issued(ctx)
		policy(ctx, func(a *v1alpha1.AccountSpec) { a.State = v1alpha1.AccountSuspended })
		becomeNotAccepted(ctx, v1alpha1.ReasonAccountSuspended, k)
		Expect(k.Status.State).To(Equal(v1alpha1.StateSuspended))
		Expect(ready(k)).To(Equal("True/" + v1alpha1.ReasonAccountSuspended))
		Expect(verdict(k.Status.Conditions, v1alpha1.ConditionValid)).To(Equal("False/NotAccepted"))
		Expect(verdict(k.Status.Conditions, v1alpha1.ConditionStalled)).To(BeEmpty())
		awaitAccount(ctx, account, func(g Gomega) {
			g.Expect(verdict(account.Status.Conditions, v1alpha1.ConditionReady)).To(Equal("True/AccountSuspended"))
		})
		By("creating a key meanwhile")
		late := newKey(namespace, "late", account.Name)
		create(ctx, late)
		becomeNotAccepted(ctx, v1alpha1.ReasonAccountSuspended, late)
		Expect(secretsIn(ctx, namespace)).NotTo(ContainElement("late"))
		policy(ctx, func(a *v1alpha1.AccountSpec) { a.State = v1alpha1.AccountActive })
		back(ctx, k, material)
		become(ctx, v1alpha1.StateActive, late)
	})

	It("excludes and includes namespaces immediately, also by the namespace's labels", func(ctx SpecContext) {
		k, material := issued(ctx)
		policy(ctx, func(a *v1alpha1.AccountSpec) {
			a.AllowedNamespaces = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}}
		})
		becomeNotAccepted(ctx, v1alpha1.ReasonNamespaceNotAllowed, k)
		Expect(verdict(k.Status.Conditions, v1alpha1.ConditionStalled)).To(Equal("True/NamespaceNotAllowed"))
		By("labelling the namespace")
		space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		read(ctx, space)
		space.Labels["team"] = "b"
		Expect(admin.Update(ctx, space)).To(Succeed())
		back(ctx, k, material)
		space.Labels["team"] = "c"
		Expect(admin.Update(ctx, space)).To(Succeed())
		becomeNotAccepted(ctx, v1alpha1.ReasonNamespaceNotAllowed, k)
		policy(ctx, func(a *v1alpha1.AccountSpec) { a.AllowedNamespaces = nil })
		back(ctx, k, material)
	})

	It("takes scopes away immediately, and allows them again", func(ctx SpecContext) {
		k, material := issued(ctx, func(k *v1alpha1.APIKeySpec) { k.Scopes = []string{"orders:read"} })
		other, _ := issued(ctx)
		policy(ctx, func(a *v1alpha1.AccountSpec) { a.AllowedScopes = []string{"conversions:*"} })
		becomeNotAccepted(ctx, v1alpha1.ReasonScopeNotAllowed, k)
		Expect(message(k.Status.Conditions, v1alpha1.ConditionAccepted)).To(ContainSubstring("orders:read"))
		become(ctx, v1alpha1.StateActive, other)
		policy(ctx, func(a *v1alpha1.AccountSpec) { a.AllowedScopes = []string{"conversions:*", "orders:*"} })
		back(ctx, k, material)
	})

	It("evicts no key if the limit is lowered, and admits keys if it is raised", func(ctx SpecContext) {
		var list []*v1alpha1.APIKey
		for range 3 {
			k, _ := issued(ctx)
			list = append(list, k)
		}
		policy(ctx, limits(1, queue))
		waiting := newKey(namespace, "waiting", account.Name)
		create(ctx, waiting)
		becomeNotAccepted(ctx, v1alpha1.ReasonLimitReached, waiting)
		recorder.awaitQuiet(ctx)
		become(ctx, v1alpha1.StateActive, list...)
		awaitAccount(ctx, account, func(g Gomega) { g.Expect(account.Status.Keys.Usage).To(Equal("3/1")) })
		By("disabling and enabling a key, which keeps its slot")
		change(ctx, list[0], state(v1alpha1.KeyStateInactive))
		become(ctx, v1alpha1.StateInactive, list[0])
		change(ctx, list[0], state(v1alpha1.KeyStateActive))
		become(ctx, v1alpha1.StateActive, list[0])
		policy(ctx, limits(4, queue))
		become(ctx, v1alpha1.StateActive, waiting)
		By("removing the limit, and setting it again")
		policy(ctx, func(a *v1alpha1.AccountSpec) { a.Limits = &v1alpha1.Limits{Unlimited: v1alpha1.SwitchEnabled} })
		sixth, _ := issued(ctx)
		policy(ctx, limits(2, queue))
		awaitAccount(ctx, account, func(g Gomega) { g.Expect(account.Status.Keys.Usage).To(Equal("5/2")) })
		become(ctx, v1alpha1.StateActive, append(list, waiting, sixth)...)
	})

	It("applies lifetime, expiration and whitelist rules to new and changed keys only", func(ctx SpecContext) {
		k, _ := issued(ctx)
		policy(ctx, func(a *v1alpha1.AccountSpec) {
			a.ExpirationPolicy = &v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationRequired, MaxLifetime: "24h"}
			a.IPWhitelistPolicy = v1alpha1.IPWhitelistRequired
		})
		recorder.awaitQuiet(ctx)
		become(ctx, v1alpha1.StateActive, k)
		late := newKey(namespace, "late", account.Name)
		create(ctx, late)
		becomeNotAccepted(ctx, v1alpha1.ReasonExpirationRequired, late)
		change(ctx, late, expiration("2099-01-01"))
		becomeNotAccepted(ctx, v1alpha1.ReasonLifetimeTooLong, late)
		change(ctx, late, expiration(time.Now().Add(time.Hour).Format(time.RFC3339)))
		becomeNotAccepted(ctx, v1alpha1.ReasonIPWhitelistRequired, late)
		change(ctx, late, func(k *v1alpha1.APIKeySpec) { k.IPWhitelist = []string{"192.0.2.7", "2001:db8::/32"} })
		become(ctx, v1alpha1.StateActive, late)
		By("changing the field of a key that was issued before")
		change(ctx, k, label("renamed"))
		become(ctx, v1alpha1.StateActive, k)
		change(ctx, k, expiration("2099-01-01"))
		becomeNotAccepted(ctx, v1alpha1.ReasonLifetimeTooLong, k)
	})

	It("assigns a label to the older key, and to the younger one once the older is deleted or renamed", func(ctx SpecContext) {
		for _, unlimited := range []bool{false, true} {
			policy(ctx, func(a *v1alpha1.AccountSpec) {
				a.Limits = nil
				if unlimited {
					a.Limits = &v1alpha1.Limits{Unlimited: v1alpha1.SwitchEnabled}
				}
			})
			name := fmt.Sprintf("shop, unlimited: %t", unlimited)
			older, _ := issued(ctx, label(name))
			awaitNextSecond()
			younger := newKey(namespace, uniqueName("key"), account.Name, label(name))
			create(ctx, younger)
			becomeNotAccepted(ctx, v1alpha1.ReasonLabelTaken, younger)
			Expect(verdict(younger.Status.Conditions, v1alpha1.ConditionStalled)).To(Equal("True/LabelTaken"))
			Expect(message(younger.Status.Conditions, v1alpha1.ConditionAccepted)).To(ContainSubstring(namespace + "/" + older.Name))
			By("renaming the older key")
			change(ctx, older, label(name+", renamed"))
			become(ctx, v1alpha1.StateActive, younger, older)
			By("creating a third key and deleting the second")
			awaitNextSecond()
			third := newKey(namespace, uniqueName("key"), account.Name, label(name))
			create(ctx, third)
			becomeNotAccepted(ctx, v1alpha1.ReasonLabelTaken, third)
			Expect(admin.Delete(ctx, younger)).To(Succeed())
			become(ctx, v1alpha1.StateActive, third)
			By("allowing shared labels")
			awaitNextSecond()
			fourth := newKey(namespace, uniqueName("key"), account.Name, label(name))
			create(ctx, fourth)
			becomeNotAccepted(ctx, v1alpha1.ReasonLabelTaken, fourth)
			policy(ctx, func(a *v1alpha1.AccountSpec) { a.LabelPolicy = v1alpha1.LabelShared })
			become(ctx, v1alpha1.StateActive, fourth, third)
			Expect(admin.Delete(ctx, fourth)).To(Succeed())
			Expect(admin.Delete(ctx, third)).To(Succeed())
			policy(ctx, func(a *v1alpha1.AccountSpec) { a.LabelPolicy = v1alpha1.LabelUnique })
		}
	})
})
