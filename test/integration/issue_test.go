// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"os/exec"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

var _ = Describe("A new key", func() {
	It("is issued into a Secret after kubectl apply, and its account is created", func(ctx SpecContext) {
		namespace, account := newNamespace(ctx, nil), uniqueName("acme")
		startManager(ctx, managerOptions{})
		kubectlApply(ctx, fmt.Sprintf(`
apiVersion: apikey-manager.io/v1alpha1
kind: APIKey
metadata:
  name: web
  namespace: %s
spec:
  account: %s
  label: Clave para integración con tienda
`, namespace, account))
		k := newKey(namespace, "web", account)
		become(ctx, v1alpha1.StateActive, k)
		expectSecretMatchesStatus(ctx, Default, k)

		secret := secretOf(ctx, k)
		Expect(secret.Type).To(Equal(corev1.SecretTypeOpaque))
		Expect(secret.Labels).To(Equal(map[string]string{"app.kubernetes.io/managed-by": "apikey-manager", "apikey-manager.io/account": account}))
		Expect(secret.Data).To(HaveLen(1))
		Expect(secret.Data).To(HaveKey("api-key"))
		owner := metav1.GetControllerOf(secret)
		Expect(owner).NotTo(BeNil())
		Expect([]string{owner.APIVersion, owner.Kind, owner.Name, string(owner.UID)}).To(Equal(
			[]string{"apikey-manager.io/v1alpha1", "APIKey", "web", string(k.UID)}))
		Expect(string(secret.Data["api-key"])).To(MatchRegexp(`^ak_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$`))

		Expect(k.Status.Credentials).To(HaveLen(1))
		Expect(k.Status.Credentials[0].Hint).To(Equal("ak_" + k.Status.KeyID))
		Expect(k.Status.Credentials[0].NotAfter).To(BeNil())
		Expect(verdict(k.Status.Conditions, v1alpha1.ConditionAccepted)).To(Equal("True/Accepted"))
		Expect(verdict(k.Status.Conditions, v1alpha1.ConditionValid)).To(Equal("True/Active"))
		Expect(verdict(k.Status.Conditions, v1alpha1.ConditionStalled)).To(BeEmpty())

		made := newAccount(account)
		awaitAccount(ctx, made, func(g Gomega) {
			g.Expect(verdict(made.Status.Conditions, v1alpha1.ConditionReady)).To(Equal("True/Active"))
			g.Expect(made.Status.Keys).NotTo(BeNil())
			g.Expect(made.Status.Keys.Usage).To(Equal("1/5"))
			g.Expect(*made.Status.Keys.Active).To(BeEquivalentTo(1))
		})
		Expect(made.Status.Slots).To(HaveLen(1))
		Expect(made.Status.Slots[0].UID).To(Equal(string(k.UID)))
		Expect(made.Status.Slots[0].Label).To(Equal("Clave para integración con tienda"))
		Expect(made.Status.DeletionPolicy).To(Equal(v1alpha1.DeletionAllow))
		expectEvent(ctx, k, corev1.EventTypeNormal, v1alpha1.ReasonIssued, "Issued credential "+k.Status.KeyID)
	})

	It("is listed by kubectl with the documented columns", func(ctx SpecContext) {
		namespace, account := newNamespace(ctx, nil), uniqueName("acme")
		startManager(ctx, managerOptions{})
		k := newKey(namespace, "web", account, label("Shop"), expiration("2099-02-28"))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		out := kubectl(ctx, "get", "ak", "-n", namespace, "-o", "wide")
		Expect(strings.Fields(strings.Split(out, "\n")[0])).To(Equal(strings.Fields(
			"NAME ACCOUNT LABEL STATE READY EXPIRES LAST-USED AGE KEY-ID SECRET REASON")))
		Expect(out).To(MatchRegexp(`web +%s +Shop +Active +True +2099-02-28T00:00:00Z .* %s +web +Active`, account, k.Status.KeyID))
		for _, selector := range []string{"spec.account=" + account, "spec.label=Shop,spec.account=" + account, "status.state=Active,spec.account=" + account} {
			Expect(strings.Fields(kubectl(ctx, "get", "apikeys", "-A", "-o", "name", "--field-selector", selector))).To(
				Equal([]string{"apikey.apikey-manager.io/web"}), selector)
		}
		Eventually(func() string { return kubectl(ctx, "get", "acct", account) }).WithContext(ctx).Should(MatchRegexp(`%s +1/5 +Active +Allow`, account))
	})

	It("takes the Secret name and the prefix from its spec or its account", func(ctx SpecContext) {
		namespace, account := newNamespace(ctx, nil), newAccount(uniqueName("acme"), func(a *v1alpha1.AccountSpec) {
			a.KeyDefaults = &v1alpha1.KeyDefaults{Format: &v1alpha1.Format{Prefix: "shop"}}
		})
		startManager(ctx, managerOptions{})
		create(ctx, account)
		theirs := newKey(namespace, "theirs", account.Name, func(k *v1alpha1.APIKeySpec) { k.Secret = &v1alpha1.SecretSpec{Name: "elsewhere"} })
		own := newKey(namespace, "own", account.Name, func(k *v1alpha1.APIKeySpec) { k.Format = &v1alpha1.Format{Prefix: "own"} })
		create(ctx, theirs, own)
		become(ctx, v1alpha1.StateActive, theirs, own)
		Expect(materialOf(ctx, theirs)).To(HavePrefix("shop_"))
		Expect(materialOf(ctx, own)).To(HavePrefix("own_"))
		Expect(theirs.Status.SecretRef.Name).To(Equal("elsewhere"))
		expectSecretMatchesStatus(ctx, Default, theirs)
		expectSecretMatchesStatus(ctx, Default, own)
	})

	It("waits for its account under --require-account, and is issued once the account exists", func(ctx SpecContext) {
		namespace, account := newNamespace(ctx, nil), uniqueName("acme")
		settings := flagDefaults
		settings.RequireAccount = true
		startManager(ctx, managerOptions{defaults: &settings})
		k := newKey(namespace, "web", account)
		create(ctx, k)
		becomeNotAccepted(ctx, v1alpha1.ReasonAccountNotFound, k)
		Expect(ready(k)).To(Equal("False/AccountNotFound"))
		Expect(verdict(k.Status.Conditions, v1alpha1.ConditionStalled)).To(BeEmpty(), "the account may come")
		Expect(apierrors.IsNotFound(admin.Get(ctx, client.ObjectKey{Name: account}, &v1alpha1.Account{}))).To(BeTrue())
		Expect(secretsIn(ctx, namespace)).To(BeEmpty())
		expectEvent(ctx, k, corev1.EventTypeWarning, v1alpha1.ReasonAccountNotFound, "create it")

		create(ctx, newAccount(account))
		become(ctx, v1alpha1.StateActive, k)
		expectSecretMatchesStatus(ctx, Default, k)
	})

	It("that is inactive has a Secret", func(ctx SpecContext) {
		namespace := newNamespace(ctx, nil)
		startManager(ctx, managerOptions{})
		k := newKey(namespace, "web", uniqueName("acme"), state(v1alpha1.KeyStateInactive))
		create(ctx, k)
		become(ctx, v1alpha1.StateInactive, k)
		expectSecretMatchesStatus(ctx, Default, k)
	})

	It("that is revoked or expired has no Secret", func(ctx SpecContext) {
		namespace, account := newNamespace(ctx, nil), uniqueName("acme")
		startManager(ctx, managerOptions{})
		revoked := newKey(namespace, "revoked", account, state(v1alpha1.KeyStateRevoked))
		expired := newKey(namespace, "expired", account, expiration("2020-01-01"))
		create(ctx, revoked, expired)
		become(ctx, v1alpha1.StateRevoked, revoked)
		become(ctx, v1alpha1.StateExpired, expired)
		Expect(secretsIn(ctx, namespace)).To(BeEmpty())
		By("moving the expiration into the future")
		change(ctx, expired, expiration("2099-01-01"))
		become(ctx, v1alpha1.StateActive, expired)
		expectSecretMatchesStatus(ctx, Default, expired)
	})
})

// kubectl runs kubectl as an administrator and returns its output.
func kubectl(ctx SpecContext, args ...string) string {
	GinkgoHelper()
	return run(ctx, "", args...)
}

func kubectlApply(ctx SpecContext, manifest string) {
	GinkgoHelper()
	run(ctx, manifest, "apply", "-f", "-")
}

func run(ctx SpecContext, stdin string, args ...string) string {
	GinkgoHelper()
	cmd := exec.CommandContext(ctx, plane.Kubectl(), append([]string{"--kubeconfig", plane.Kubeconfig()}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	output.record("kubectl", out)
	Expect(err).NotTo(HaveOccurred(), string(out))
	return string(out)
}

func secretsIn(ctx SpecContext, namespace string) []string {
	GinkgoHelper()
	var list corev1.SecretList
	Expect(admin.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{keys.LabelManagedBy: keys.ManagedBy})).To(Succeed())
	var names []string
	for _, s := range list.Items {
		names = append(names, s.Name)
	}
	return names
}

// expectEvent waits for an Event about a key.
func expectEvent(ctx SpecContext, k *v1alpha1.APIKey, kind, reason, note string) {
	GinkgoHelper()
	Eventually(func() []string {
		var list eventsv1.EventList
		Expect(admin.List(ctx, &list, client.InNamespace(k.Namespace))).To(Succeed())
		var found []string
		for _, e := range list.Items {
			if e.Regarding.UID == k.UID {
				found = append(found, e.Type+" "+e.Reason+": "+e.Note)
			}
		}
		return found
	}).WithContext(ctx).Should(ContainElement(And(HavePrefix(kind+" "+reason+": "), ContainSubstring(note))))
}
