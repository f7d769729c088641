// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// denySecrets creates a policy that denies Secrets of a namespace with the message of an expression.
func denySecrets(ctx context.Context, namespace, says string, operations ...admissionregistrationv1.OperationType) {
	GinkgoHelper()
	name := uniqueName("no-secrets")
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": namespace}},
				ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: operations,
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
				}}},
			},
			Validations: []admissionregistrationv1.Validation{{Expression: "object.metadata.name.startsWith('probe')", MessageExpression: says}},
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
	create(ctx, policy)
	create(ctx, binding)
	DeferCleanup(func(ctx SpecContext) {
		Expect(admin.Delete(ctx, policy)).To(Succeed())
		Expect(admin.Delete(ctx, binding)).To(Succeed())
	})
	// The API server enforces a policy some time after its creation.
	refused := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: uniqueName("other"), Labels: map[string]string{"n": "0"}}}
	if operations[0] == admissionregistrationv1.Update {
		create(ctx, refused)
	}
	Eventually(func() error {
		if operations[0] == admissionregistrationv1.Update {
			refused.Labels["n"] += "0"
			return admin.Update(ctx, refused)
		}
		refused.Name, refused.ResourceVersion = uniqueName("other"), ""
		return admin.Create(ctx, refused)
	}).WithContext(ctx).WithPolling(200 * time.Millisecond).Should(MatchError(ContainSubstring("denied request")))
}

var _ = Describe("A Secret that the API server rejects", func() {
	var namespace string
	BeforeEach(func(ctx SpecContext) {
		namespace = newNamespace(ctx, nil)
		startManager(ctx, managerOptions{})
	})
	expectRefused := func(ctx SpecContext, k *v1alpha1.APIKey, says string) {
		GinkgoHelper()
		awaitStatus(ctx, k, func(g Gomega) { g.Expect(ready(k)).To(Equal("False/WriteFailed")) })
		Expect(message(k.Status.Conditions, v1alpha1.ConditionReady)).To(ContainSubstring(says))
		expectEvent(ctx, k, corev1.EventTypeWarning, v1alpha1.ReasonWriteFailed, says)
		recorder.awaitQuiet(ctx)
		before := k.ResourceVersion
		change(ctx, k, label("look again"))
		awaitStatus(ctx, k, func(g Gomega) { g.Expect(ready(k)).To(Equal("False/WriteFailed")) })
		Expect(k.ResourceVersion).NotTo(Equal(before))
		Expect(message(k.Status.Conditions, v1alpha1.ConditionReady)).To(ContainSubstring(says))
	}

	It("reports the message of a quota, and is written once the quota allows it", func(ctx SpecContext) {
		limit := corev1.ResourceList{"count/secrets": resource.MustParse("0")}
		quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "few-secrets"}, Spec: corev1.ResourceQuotaSpec{Hard: limit}}
		create(ctx, quota)
		quota.Status = corev1.ResourceQuotaStatus{Hard: limit, Used: limit} // no quota controller runs
		Expect(admin.Status().Update(ctx, quota)).To(Succeed())
		Eventually(func() error {
			return admin.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: uniqueName("probe")}})
		}).WithContext(ctx).Should(MatchError(ContainSubstring("exceeded quota")))
		k := newKey(namespace, "web", uniqueName("acme"))
		create(ctx, k)
		expectRefused(ctx, k, "exceeded quota: few-secrets")
		Expect(admin.Delete(ctx, quota)).To(Succeed())
		Eventually(func(g Gomega) {
			change(ctx, k, label(uniqueName("again")))
			awaitStatus(ctx, k, func(Gomega) {}) // a further change before would make the manager's write of the status fail
			g.Expect(ready(k)).To(Equal("True/Active"))
		}).WithContext(ctx).WithPolling(500 * time.Millisecond).Should(Succeed())
	})

	// The policies repeat an entry that holds no key, because responses of the API server are searched for keys at the end.
	withMore := v1alpha1.SecretTemplate{Data: map[string]string{"token": "{{ .Key }}", "more": "what is in the entry"}}

	It("reports the message of a policy, with entries of the Secret redacted", func(ctx SpecContext) {
		denySecrets(ctx, namespace, `"ask the platform team: " + (has(object.data) && 'more' in object.data ? string(object.data['more']) : '')`, admissionregistrationv1.Create)
		k := newKey(namespace, "web", uniqueName("acme"), template(withMore))
		create(ctx, k)
		expectRefused(ctx, k, "ask the platform team: [redacted]")
	})

	It("reports that the Secret of a revoked key cannot be cleared", func(ctx SpecContext) {
		k := newKey(namespace, "web", uniqueName("acme"), template(withMore))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		denySecrets(ctx, namespace, `"frozen: " + (has(oldObject.data) && 'more' in oldObject.data ? string(oldObject.data['more']) : '')`, admissionregistrationv1.Update)
		change(ctx, k, state(v1alpha1.KeyStateRevoked))
		awaitStatus(ctx, k, func(g Gomega) { g.Expect(ready(k)).To(Equal("False/WriteFailed")) })
		Expect(message(k.Status.Conditions, v1alpha1.ConditionReady)).To(ContainSubstring("frozen: [redacted]"))
		Expect(k.Status.State).To(Equal(v1alpha1.StateRevoked), "verifiers refuse it all the same")
	})
})

var _ = Describe("An immutable Secret", func() {
	var (
		namespace string
		k         *v1alpha1.APIKey
		old       string
	)
	freeze := func(ctx context.Context) {
		GinkgoHelper()
		Eventually(func() error {
			s, yes := secretOf(ctx, k), true
			s.Immutable = &yes
			return admin.Update(ctx, s)
		}).WithContext(ctx).Should(Succeed())
		recorder.awaitQuiet(ctx)
		become(ctx, v1alpha1.StateActive, k)
	}
	BeforeEach(func(ctx SpecContext) {
		namespace = newNamespace(ctx, nil)
		startManager(ctx, managerOptions{})
		k = newKey(namespace, "web", uniqueName("acme"))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		old = materialOf(ctx, k)
		freeze(ctx)
	})
	expectStalled := func(ctx SpecContext, says string) {
		GinkgoHelper()
		awaitStatus(ctx, k, func(g Gomega) {
			g.Expect(verdict(k.Status.Conditions, v1alpha1.ConditionStalled)).To(Equal("True/SecretImmutable"))
		})
		Expect(ready(k)).To(Equal("False/SecretImmutable"))
		Expect(message(k.Status.Conditions, v1alpha1.ConditionStalled)).To(And(ContainSubstring("delete it"), ContainSubstring(says)))
		expectEvent(ctx, k, corev1.EventTypeWarning, v1alpha1.ReasonSecretImmutable, "delete it")
		recorder.awaitQuiet(ctx)
	}

	It("stalls a rotation, which continues once the Secret is deleted", func(ctx SpecContext) {
		change(ctx, k, func(s *v1alpha1.APIKeySpec) {
			s.Rotation = &v1alpha1.Rotation{RequestedAt: keystest.Instant(time.Now())}
		})
		expectStalled(ctx, "with a new key")
		Expect(k.Status.Credentials).To(HaveLen(1), "nothing is staged that can't be written")
		Expect(materialOf(ctx, k) == old).To(BeTrue())
		Expect(admin.Delete(ctx, secretOf(ctx, k))).To(Succeed())
		become(ctx, v1alpha1.StateActive, k)
		Expect(materialOf(ctx, k) != old).To(BeTrue(), "the key was not rotated")
		Expect(verdict(k.Status.Conditions, v1alpha1.ConditionStalled)).To(BeEmpty())
	})

	It("stalls a revocation, which completes once the Secret is deleted", func(ctx SpecContext) {
		change(ctx, k, state(v1alpha1.KeyStateRevoked))
		expectStalled(ctx, "the key is revoked")
		Expect(k.Status.State).To(Equal(v1alpha1.StateRevoked), "verifiers refuse it all the same")
		Expect(admin.Delete(ctx, secretOf(ctx, k))).To(Succeed())
		become(ctx, v1alpha1.StateRevoked, k)
		Expect(secretsIn(ctx, namespace)).NotTo(ContainElement("web"))
	})

	It("stalls a change of the template's data, but not of its labels", func(ctx SpecContext) {
		change(ctx, k, template(v1alpha1.SecretTemplate{Labels: map[string]string{"example.com/a": "b"}}))
		become(ctx, v1alpha1.StateActive, k)
		Eventually(func() map[string]string { return secretOf(ctx, k).Labels }).WithContext(ctx).Should(HaveKeyWithValue("example.com/a", "b"))
		change(ctx, k, template(v1alpha1.SecretTemplate{Data: map[string]string{"token": "{{ .Key }}"}}))
		expectStalled(ctx, "must be changed")
	})
})

var _ = Describe("A Secret that the key does not own", func() {
	It("is reported with its owner, and the message does not tell users to delete it", func(ctx SpecContext) {
		namespace, account := newNamespace(ctx, nil), uniqueName("acme")
		startManager(ctx, managerOptions{})
		first := newKey(namespace, "first", account)
		create(ctx, first)
		become(ctx, v1alpha1.StateActive, first)
		second := newKey(namespace, "second", account, func(s *v1alpha1.APIKeySpec) { s.Secret = &v1alpha1.SecretSpec{Name: "first"} })
		create(ctx, second)
		awaitStatus(ctx, second, func(g Gomega) { g.Expect(ready(second)).To(Equal("False/SecretConflict")) })
		Expect(message(second.Status.Conditions, v1alpha1.ConditionStalled)).To(And(
			ContainSubstring("by APIKey first"), ContainSubstring("spec.secret.name"), Not(ContainSubstring("delete"))))
		become(ctx, v1alpha1.StateActive, first)
		expectSecretMatchesStatus(ctx, Default, first)
	})

	It("cannot be changed if it has another type, and the key reports that", func(ctx SpecContext) {
		namespace := newNamespace(ctx, nil)
		m := startManager(ctx, managerOptions{})
		k := newKey(namespace, "web", uniqueName("acme"))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		m.stop()
		s := secretOf(ctx, k)
		Expect(admin.Delete(ctx, s)).To(Succeed())
		create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web", Labels: s.Labels, OwnerReferences: s.OwnerReferences}, Type: "example.com/x", Data: s.Data,
		})
		startManager(ctx, managerOptions{})
		awaitStatus(ctx, k, func(g Gomega) { g.Expect(ready(k)).To(Equal("False/SecretImmutable")) })
		Expect(message(k.Status.Conditions, v1alpha1.ConditionStalled)).To(ContainSubstring("has type example.com/x"))
		Expect(admin.Delete(ctx, secretOf(ctx, k))).To(Succeed())
		become(ctx, v1alpha1.StateActive, k)
		expectSecretMatchesStatus(ctx, Default, k)
	})
})
