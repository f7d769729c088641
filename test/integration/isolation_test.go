// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"encoding/json"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

var _ = Describe("An invalid key", func() {
	It("does not affect other keys", func(ctx SpecContext) {
		namespace := newNamespace(ctx, nil)
		By("creating an account with an unknown time zone and a key that the schema forbids")
		relaxValidation(ctx)
		nowhere := newAccount(uniqueName("nowhere"), func(a *v1alpha1.AccountSpec) { a.TimeZone = "Mars/Base" })
		Eventually(func() error { return admin.Create(ctx, nowhere) }).WithContext(ctx).Should(Succeed())
		account := uniqueName("acme")
		invalid := newKey(namespace, "invalid", account, expiration("2027-02-30"))
		Eventually(func() error { return admin.Create(ctx, invalid) }).WithContext(ctx).Should(Succeed())

		By("creating Secrets that the keys do not own")
		foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "conflict"}, StringData: map[string]string{"api-key": "theirs"}}
		labelled := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "conflict-labelled", Labels: map[string]string{"app.kubernetes.io/managed-by": "apikey-manager"}},
			StringData: map[string]string{"api-key": "theirs"},
		}
		create(ctx, foreign, labelled)

		startManager(ctx, managerOptions{})
		conflict, conflictLabelled := newKey(namespace, "conflict", account), newKey(namespace, "conflict-labelled", account)
		dated, undated := newKey(namespace, "dated", nowhere.Name, expiration("2099-01-01")), newKey(namespace, "undated", nowhere.Name)
		instant := newKey(namespace, "instant", nowhere.Name, expiration("2099-01-01T00:00:00Z"))
		good := []*v1alpha1.APIKey{newKey(namespace, "good", account), newKey(namespace, "good-too", account), undated, instant}
		for i := range 20 {
			good = append(good, newKey(namespace, fmt.Sprintf("other-%d", i), fmt.Sprintf("%s-%d", account, i)))
		}
		create(ctx, conflict, conflictLabelled, dated)
		create(ctx, good...)

		become(ctx, v1alpha1.StateActive, good...)
		for _, k := range good {
			expectSecretMatchesStatus(ctx, Default, k)
		}
		becomeNotAccepted(ctx, v1alpha1.ReasonInvalidSpec, invalid, dated)
		Expect(message(invalid.Status.Conditions, v1alpha1.ConditionAccepted)).To(And(ContainSubstring("spec.expiration"), ContainSubstring("2027-02-28")))
		Expect(message(dated.Status.Conditions, v1alpha1.ConditionAccepted)).To(And(ContainSubstring("spec.timeZone"), ContainSubstring("RFC 3339")))
		for _, k := range []*v1alpha1.APIKey{conflict, conflictLabelled} {
			awaitStatus(ctx, k, func(g Gomega) { g.Expect(ready(k)).To(Equal("False/SecretConflict")) })
			Expect(verdict(k.Status.Conditions, v1alpha1.ConditionStalled)).To(Equal("True/SecretConflict"))
			Expect(k.Status.Credentials).To(BeEmpty())
			expectEvent(ctx, k, corev1.EventTypeWarning, v1alpha1.ReasonSecretConflict, "is not owned by this APIKey")
		}
		awaitAccount(ctx, nowhere, func(g Gomega) {
			g.Expect(verdict(nowhere.Status.Conditions, v1alpha1.ConditionReady)).To(Equal("False/InvalidSpec"))
		})
		Expect(message(nowhere.Status.Conditions, v1alpha1.ConditionReady)).To(And(ContainSubstring("spec.timeZone"), ContainSubstring("Europe/Madrid")))

		By("expecting that the other Secrets have not changed")
		recorder.awaitQuiet(ctx)
		for _, s := range []*corev1.Secret{foreign, labelled} {
			before := s.ResourceVersion
			read(ctx, s)
			Expect(s.ResourceVersion).To(Equal(before), "Secret %s was touched", s.Name)
		}

		By("following the messages")
		Expect(admin.Delete(ctx, labelled)).To(Succeed()) // the manager does not watch this Secret: it checks every minute, and after a change of the key
		change(ctx, conflictLabelled, label("look again"))
		change(ctx, invalid, expiration("2099-02-28"))
		changeAccount(ctx, nowhere, func(a *v1alpha1.AccountSpec) { a.TimeZone = "Europe/Madrid" })
		become(ctx, v1alpha1.StateActive, conflictLabelled, invalid, dated)
		awaitAccount(ctx, nowhere, func(g Gomega) {
			g.Expect(verdict(nowhere.Status.Conditions, v1alpha1.ConditionReady)).To(Equal("True/Active"))
			g.Expect(verdict(nowhere.Status.Conditions, v1alpha1.ConditionStalled)).To(BeEmpty())
		})
	})
})

// relaxValidation removes the validation rules of time zones and expirations from the CRDs until the spec ends. The rule of time zones must
// not be restored while the account exists: it cannot be evaluated for an unknown zone, and the API server would then reject every
// write of the account, including its status.
func relaxValidation(ctx SpecContext) {
	GinkgoHelper()
	DeferCleanup(func(ctx SpecContext) {
		bad := newAccount("probe", func(a *v1alpha1.AccountSpec) { a.TimeZone = "Mars/Base" })
		Eventually(func() error { return admin.Create(ctx, bad.DeepCopy(), client.DryRunAll) }).WithContext(ctx).ShouldNot(Succeed())
		late := newKey("default", "probe", "probe", expiration("2027-02-30"))
		Eventually(func() error { return admin.Create(ctx, late.DeepCopy(), client.DryRunAll) }).WithContext(ctx).ShouldNot(Succeed())
		recorder.restartWatches() // the API server would end the watches of a changed CRD some time later
	})
	for _, rule := range []struct{ crd, field string }{{"accounts.apikey-manager.io", "timeZone"}, {"apikeys.apikey-manager.io", "expiration"}} {
		crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: rule.crd}}
		read(ctx, crd)
		path := fmt.Sprintf("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/%s/x-kubernetes-validations", rule.field)
		strict := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties[rule.field]
		Expect(strict.XValidations).NotTo(BeEmpty())
		Expect(admin.Patch(ctx, crd, client.RawPatch("application/json-patch+json", []byte(`[{"op":"remove","path":"`+path+`"}]`)))).To(Succeed())
		restore, err := json.Marshal([]any{map[string]any{"op": "add", "path": path, "value": strict.XValidations}})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) {
			Expect(admin.Patch(ctx, crd, client.RawPatch("application/json-patch+json", restore))).To(Succeed())
		})
	}
}
