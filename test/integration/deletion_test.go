// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

var _ = Describe("Deletion", func() {
	deletion := func(p v1alpha1.DeletionPolicy) func(*v1alpha1.AccountSpec) {
		return func(a *v1alpha1.AccountSpec) { a.DeletionPolicy = p }
	}
	gone := func(ctx SpecContext, o client.Object) {
		GinkgoHelper()
		Eventually(func() bool { return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(o), o)) }).WithContext(ctx).Should(BeTrue())
	}

	It("of a key deletes its Secret and frees its slot", func(ctx SpecContext) {
		requireControllers()
		startManagerWithWebhooks(ctx, managerOptions{})
		k := newKey(newNamespace(ctx, nil), "web", uniqueName("acme"))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		secret, account := secretOf(ctx, k), newAccount(k.Spec.Account)
		Expect(admin.Delete(ctx, k)).To(Succeed())
		gone(ctx, k)
		gone(ctx, secret)
		awaitAccount(ctx, account, func(g Gomega) {
			g.Expect(account.Status.Slots).To(BeEmpty())
			g.Expect(account.Status.Keys.Usage).To(Equal("0/5"))
		})
	})

	It("of a key in the foreground deletes the Secret first", func(ctx SpecContext) {
		requireControllers()
		startManagerWithWebhooks(ctx, managerOptions{})
		k := newKey(newNamespace(ctx, nil), "web", uniqueName("acme"))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		secret := secretOf(ctx, k)
		Expect(admin.Delete(ctx, k, client.PropagationPolicy(metav1.DeletePropagationForeground))).To(Succeed())
		gone(ctx, k)
		gone(ctx, secret)
	})

	It("of the CRDs is denied while an account forbids the deletion of its keys", func(ctx SpecContext) {
		startManagerWithWebhooks(ctx, managerOptions{})
		account := newAccount(uniqueName("acme"), deletion(v1alpha1.DeletionForbid))
		create(ctx, account)
		k := newKey(newNamespace(ctx, nil), "web", account.Name)
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		for _, name := range []string{"apikeys.apikey-manager.io", "accounts.apikey-manager.io"} {
			definition := &metav1.PartialObjectMetadata{
				TypeMeta:   metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"},
				ObjectMeta: metav1.ObjectMeta{Name: name},
			}
			Eventually(func() error { return admin.Delete(ctx, definition, client.DryRunAll) }).WithContext(ctx).
				Should(MatchError(And(ContainSubstring("forbids the deletion of keys"), ContainSubstring("ValidatingWebhookConfiguration"))))
		}
	})

	It("is denied under Forbid, and the message names the alternative", func(ctx SpecContext) {
		startManagerWithWebhooks(ctx, managerOptions{})
		account := newAccount(uniqueName("acme"), deletion(v1alpha1.DeletionForbid), limits(1, queue))
		create(ctx, account)
		namespace := newNamespace(ctx, nil)
		k := newKey(namespace, "web", account.Name)
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		err := admin.Delete(ctx, k)
		Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
		Expect(err).To(MatchError(And(ContainSubstring("forbids the deletion of keys"),
			ContainSubstring(`kubectl patch apikey web -n `+namespace+` --type=merge -p '{"spec":{"state":"Inactive"}}'`))))

		By("following the message")
		kubectl(ctx, "patch", "apikey", "web", "-n", namespace, "--type=merge", "-p", `{"spec":{"state":"Inactive"}}`)
		become(ctx, v1alpha1.StateInactive, k)

		By("deleting a key that never got a credential")
		waiting := newKey(namespace, "waiting", account.Name)
		create(ctx, waiting)
		becomeNotAccepted(ctx, v1alpha1.ReasonLimitReached, waiting)
		Expect(admin.Delete(ctx, waiting)).To(Succeed())

		By("deleting all keys")
		Expect(admin.DeleteAllOf(ctx, &v1alpha1.APIKey{}, client.InNamespace(namespace))).To(MatchError(ContainSubstring("forbids the deletion of keys")))
		read(ctx, k)

		By("allowing the deletion")
		read(ctx, account)
		changeAccount(ctx, account, deletion(v1alpha1.DeletionAllow))
		Eventually(func() error { return admin.Delete(ctx, k) }).WithContext(ctx).Should(Succeed())
	})

	It("is denied by --default-deletion-policy=Forbid", func(ctx SpecContext) {
		settings := flagDefaults
		settings.DeletionPolicy = v1alpha1.DeletionForbid
		startManagerWithWebhooks(ctx, managerOptions{defaults: &settings})
		k := newKey(newNamespace(ctx, nil), "web", uniqueName("acme"))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		Expect(admin.Delete(ctx, k)).To(MatchError(ContainSubstring("forbids the deletion of keys")))
		account := newAccount(k.Spec.Account)
		read(ctx, account)
		Expect(account.Status.DeletionPolicy).To(Equal(v1alpha1.DeletionForbid))
	})

	It("needs a confirmation under RequireConfirmation", func(ctx SpecContext) {
		startManagerWithWebhooks(ctx, managerOptions{})
		account := newAccount(uniqueName("acme"), deletion(v1alpha1.DeletionRequireConfirmation))
		create(ctx, account)
		k := newKey(newNamespace(ctx, nil), "web", account.Name)
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		annotate := "kubectl annotate apikey web -n " + k.Namespace + " apikey-manager.io/confirm-deletion=web"
		Expect(admin.Delete(ctx, k)).To(MatchError(ContainSubstring(annotate)))
		By("confirming with another name")
		confirm := func(name string) {
			kubectl(ctx, "annotate", "--overwrite", "apikey", "web", "-n", k.Namespace, "apikey-manager.io/confirm-deletion="+name)
		}
		confirm("other")
		Expect(admin.Delete(ctx, k)).To(MatchError(ContainSubstring(annotate)))
		confirm("web")
		Expect(admin.Delete(ctx, k)).To(Succeed())
		gone(ctx, k)
	})

	It("of a namespace with keys under Forbid succeeds", func(ctx SpecContext) {
		requireControllers()
		startManagerWithWebhooks(ctx, managerOptions{})
		account := newAccount(uniqueName("acme"), deletion(v1alpha1.DeletionForbid))
		create(ctx, account)
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: newNamespace(ctx, nil)}}
		k := newKey(namespace.Name, "web", account.Name)
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		Expect(admin.Delete(ctx, namespace)).To(Succeed())
		gone(ctx, namespace)
		gone(ctx, k)
		awaitAccount(ctx, account, func(g Gomega) { g.Expect(account.Status.Slots).To(BeEmpty()) })
	})

	It("of an account in use is denied, and the message says how to find its keys", func(ctx SpecContext) {
		startManagerWithWebhooks(ctx, managerOptions{})
		k := newKey(newNamespace(ctx, nil), "web", uniqueName("acme"))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		account := newAccount(k.Spec.Account)
		Expect(admin.Delete(ctx, account)).To(MatchError(And(
			ContainSubstring("is in use: delete its keys first"),
			Not(ContainSubstring(k.Namespace)),
			ContainSubstring("kubectl get apikeys -A --field-selector spec.account="+account.Name))))
		Expect(admin.Delete(ctx, k)).To(Succeed())
		gone(ctx, k)
		Expect(admin.Delete(ctx, account)).To(Succeed())
		gone(ctx, account)
	})

	It("of keys and accounts is blocked while the manager is down, and nothing else is", func(ctx SpecContext) {
		m := startManagerWithWebhooks(ctx, managerOptions{})
		namespace, account := newNamespace(ctx, nil), uniqueName("acme")
		k := newKey(namespace, "web", account)
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		m.stop()
		By("creating and changing")
		create(ctx, newKey(namespace, "new", account), newKey(namespace, "of-a-new-account", uniqueName("acme")))
		change(ctx, k, state(v1alpha1.KeyStateInactive), label("renamed"))
		made := newAccount(account)
		read(ctx, made)
		changeAccount(ctx, made, func(a *v1alpha1.AccountSpec) { a.DisplayName = "Acme" })
		create(ctx, newAccount(uniqueName("acme")))
		Expect(admin.Delete(ctx, secretOf(ctx, k))).To(Succeed())
		By("deleting")
		Expect(admin.Delete(ctx, k)).To(MatchError(ContainSubstring(`failed calling webhook "delete.apikeys.apikey-manager.io"`)))
		Expect(admin.Delete(ctx, made)).To(MatchError(ContainSubstring(`failed calling webhook "delete.accounts.apikey-manager.io"`)))
		By("restarting the manager")
		startManager(ctx, managerOptions{})
		become(ctx, v1alpha1.StateInactive, k)
		become(ctx, v1alpha1.StateActive, newKey(namespace, "new", account))
		expectSecretMatchesStatus(ctx, Default, k)
	})
})

// requireControllers skips a spec that needs garbage collection or the deletion of a namespace if kube-controller-manager does not run.
func requireControllers() {
	GinkgoHelper()
	if !plane.HasControllers() {
		Skip("SKIPPED: there is no kube-controller-manager among the binaries; `make controlplane` builds one")
	}
}
