// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// installCount is the number of installations of a key and its Account, one after the other.
const installCount = 20

// keyThenAccount returns the manifests of a key and its account. Helm, which sorts by kind, creates them in this order.
func keyThenAccount(namespace, name string) (key, account string) {
	return fmt.Sprintf("apiVersion: apikey-manager.io/v1alpha1\nkind: APIKey\nmetadata: {name: %s, namespace: %s}\nspec: {account: %s}\n", name, namespace, name),
		fmt.Sprintf("apiVersion: apikey-manager.io/v1alpha1\nkind: Account\nmetadata: {name: %s}\nspec: {displayName: Written, limits: {maxKeys: 3}}\n", name)
}

// helmInstall does what `helm install` does: it checks that no object exists without Helm's ownership labels, and creates the objects
// in Helm's order.
func helmInstall(ctx SpecContext, name string, key, account string, create ...string) {
	GinkgoHelper()
	err := admin.Get(ctx, client.ObjectKey{Name: name}, &v1alpha1.Account{})
	Expect(apierrors.IsNotFound(err)).To(BeTrue(), "it exists and cannot be imported into the release")
	for _, object := range []string{key, account} {
		run(ctx, object, append(slices.Clone(create), "-f", "-")...)
	}
}

var _ = Describe("An account that a key names and that does not exist", func() {
	var namespace string
	BeforeEach(func(ctx SpecContext) { namespace = newNamespace(ctx, nil) })

	Context("while the manager waits before it creates the account", func() {
		BeforeEach(func(ctx SpecContext) {
			patient := flagDefaults
			patient.AccountCreationDelay = 5 * time.Second
			startManagerWithWebhooks(ctx, managerOptions{defaults: &patient})
		})
		inARow := func(ctx SpecContext, install func(name, key, account string)) {
			GinkgoHelper()
			for range installCount {
				name := uniqueName("acme")
				key, account := keyThenAccount(namespace, name)
				install(name, key, account)
				become(ctx, v1alpha1.StateActive, newKey(namespace, name, name))
				a := newAccount(name)
				read(ctx, a)
				Expect(a.Annotations).NotTo(HaveKey(v1alpha1.CreatedByAnnotation))
				Expect(a.Spec.DisplayName).To(Equal("Written"))
			}
		}
		for about, args := range map[string][]string{
			"kubectl create":              {"create", "-f", "-"},
			"kubectl apply":               {"apply", "-f", "-"},
			"kubectl apply --server-side": {"apply", "--server-side", "-f", "-"},
		} {
			It("is created from the file of the key with "+about+", in each of 20 attempts", func(ctx SpecContext) {
				inARow(ctx, func(_, key, account string) { run(ctx, key+"---\n"+account, args...) })
			}, NodeTimeout(5*time.Minute))
		}
		for about, args := range map[string][]string{
			"Helm 3": {"create"}, "Helm 4": {"apply", "--server-side", "--field-manager=helm"},
		} {
			It("is created from the chart of the key by "+about+", in each of 20 attempts", func(ctx SpecContext) {
				inARow(ctx, func(name, key, account string) { helmInstall(ctx, name, key, account, args...) })
			}, NodeTimeout(5*time.Minute))
		}
		It("is announced in the key's status, and then created by the manager", func(ctx SpecContext) {
			k := newKey(namespace, uniqueName("key"), uniqueName("acme"))
			create(ctx, k)
			awaitStatus(ctx, k, func(g Gomega) {
				g.Expect(verdict(k.Status.Conditions, v1alpha1.ConditionAccepted)).To(Equal("Unknown/Pending"))
				g.Expect(message(k.Status.Conditions, v1alpha1.ConditionAccepted)).To(ContainSubstring("--account-creation-delay"))
			})
			become(ctx, v1alpha1.StateActive, k)
			a := newAccount(k.Spec.Account)
			read(ctx, a)
			Expect(a.CreationTimestamp.Time).NotTo(BeTemporally("<", k.CreationTimestamp.Add(5*time.Second)))
			Expect(a.Annotations).To(HaveKeyWithValue(v1alpha1.CreatedByAnnotation, v1alpha1.CreatedByManager))
		})
	})

	Context("after the manager has created it", func() {
		var k *v1alpha1.APIKey
		BeforeEach(func(ctx SpecContext) {
			startManagerWithWebhooks(ctx, managerOptions{})
			k = newKey(namespace, uniqueName("bob"), uniqueName("acme"))
			create(ctx, k)
			become(ctx, v1alpha1.StateActive, k)
		})
		const policy = "apiVersion: apikey-manager.io/v1alpha1\nkind: Account\nmetadata: {name: %s}\nspec: {state: Active, timeZone: Europe/Madrid, " +
			"expirationPolicy: {mode: Required}, ipWhitelistPolicy: Required, labelPolicy: Shared, limits: {maxKeys: 1, enforcement: Queue}}\n"

		It("has no field manager for its spec", func(ctx SpecContext) {
			a := newAccount(k.Spec.Account)
			read(ctx, a)
			for _, f := range a.ManagedFields {
				Expect(f.FieldsV1.GetRawString()).NotTo(ContainSubstring("f:spec"), "%s owns %s", f.Manager, f.FieldsV1.GetRawString())
			}
			Expect(a.Generation).To(BeEquivalentTo(1))
		})
		for about, args := range map[string][]string{
			"kubectl apply": {"apply", "-f", "-"}, "kubectl apply --server-side": {"apply", "--server-side", "-f", "-"}, "kubectl replace": {"replace", "-f", "-"},
		} {
			It("can be changed with "+about+" without a conflict, and its policy binds the keys issued before", func(ctx SpecContext) {
				second := newKey(namespace, uniqueName("second"), k.Spec.Account)
				create(ctx, second)
				become(ctx, v1alpha1.StateActive, second)
				run(ctx, fmt.Sprintf(policy, k.Spec.Account), args...)
				becomeNotAccepted(ctx, v1alpha1.ReasonExpirationRequired, k, second)
				Expect(k.Status.State).To(Equal(v1alpha1.StatePending))
				By("fixing one key")
				change(ctx, k, expiration("2099-01-01"))
				becomeNotAccepted(ctx, v1alpha1.ReasonIPWhitelistRequired, k)
				mend := func(s *v1alpha1.APIKeySpec) { s.IPWhitelist = []string{"192.0.2.7"} }
				change(ctx, k, mend)
				become(ctx, v1alpha1.StateActive, k)
				By("fixing another key, above the limit")
				change(ctx, second, expiration("2099-01-01"), mend)
				becomeNotAccepted(ctx, v1alpha1.ReasonLimitReached, second)
			})
		}
	})

	It("is not marked as created by the manager if a user creates it at the same time", func(ctx SpecContext) {
		name := uniqueName("acme")
		startManager(ctx, managerOptions{injectFault: func(r request) fault {
			if r.method == http.MethodPatch && r.resource == "accounts" && r.name == name {
				_ = admin.Create(context.Background(), newAccount(name)) // the second time it exists
			}
			return faultNone
		}})
		k := newKey(namespace, uniqueName("key"), name)
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		a := newAccount(name)
		awaitAccount(ctx, a, func(g Gomega) { g.Expect(a.Annotations).NotTo(HaveKey(v1alpha1.CreatedByAnnotation)) })
		Consistently(func(g Gomega) {
			g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(a), a)).To(Succeed())
			g.Expect(a.Annotations).NotTo(HaveKey(v1alpha1.CreatedByAnnotation))
		}).WithContext(ctx).Should(Succeed())
		awaitStatus(ctx, k, func(g Gomega) { g.Expect(k.Status.IPRestriction).To(Equal(v1alpha1.IPUnrestricted)) })
	})
})

var _ = Describe("An external ID of two accounts", func() {
	It("belongs to the older account, and is not passed on for the younger one", func(ctx SpecContext) {
		namespace := newNamespace(ctx, nil)
		startManager(ctx, managerOptions{}) // without webhooks, which deny it
		id := func(a *v1alpha1.AccountSpec) { a.ExternalID = "company-4711" }
		older, younger := newAccount(uniqueName("acme"), id), newAccount(uniqueName("bob"), id)
		create(ctx, older)
		awaitNextSecond() // creation times have whole seconds
		create(ctx, younger)
		k := newKey(namespace, uniqueName("key"), younger.Name, func(s *v1alpha1.APIKeySpec) {
			s.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{Data: map[string]string{"key": "{{ .Key }}", "company": "{{ .ExternalID }}"}}}
		})
		create(ctx, k)
		awaitAccount(ctx, younger, func(g Gomega) {
			g.Expect(verdict(younger.Status.Conditions, v1alpha1.ConditionReady)).To(Equal("False/" + v1alpha1.ReasonExternalIDTaken))
			g.Expect(verdict(younger.Status.Conditions, v1alpha1.ConditionStalled)).To(Equal("True/" + v1alpha1.ReasonExternalIDTaken))
		})
		awaitAccount(ctx, older, func(g Gomega) {
			g.Expect(verdict(older.Status.Conditions, v1alpha1.ConditionReady)).To(Equal("True/Active"))
		})
		become(ctx, v1alpha1.StateActive, k)
		Expect(secretOf(ctx, k).Data).NotTo(HaveKeyWithValue("company", Not(BeEmpty())))
		By("deleting the older account")
		Expect(admin.Delete(ctx, older)).To(Succeed())
		awaitAccount(ctx, younger, func(g Gomega) {
			g.Expect(verdict(younger.Status.Conditions, v1alpha1.ConditionReady)).To(Equal("True/Active"))
		})
		Eventually(func(g Gomega) {
			g.Expect(secretOf(ctx, k).Data).To(HaveKeyWithValue("company", []byte("company-4711")))
		}).WithContext(ctx).Should(Succeed())
	})

	It("is rejected for the second account", func(ctx SpecContext) {
		startManagerWithWebhooks(ctx, managerOptions{})
		older := newAccount(uniqueName("acme"), func(a *v1alpha1.AccountSpec) { a.ExternalID = "company-4712" })
		create(ctx, older)
		younger := newAccount(uniqueName("bob"), func(a *v1alpha1.AccountSpec) { a.ExternalID = "company-4712" })
		Eventually(func() error { return admin.Create(ctx, younger.DeepCopy(), client.DryRunAll) }).WithContext(ctx).
			Should(MatchError(ContainSubstring("spec.externalID is already used by account " + older.Name)))
	})
})
