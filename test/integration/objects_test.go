// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// uniqueName returns a name that no other call returned.
func uniqueName(prefix string) string { return controlplanetest.UniqueName(prefix) }

func newKey(namespace, name, account string, changes ...func(*v1alpha1.APIKeySpec)) *v1alpha1.APIKey {
	return controlplanetest.NewKey(namespace, name, account, changes...)
}

func newAccount(name string, changes ...func(*v1alpha1.AccountSpec)) *v1alpha1.Account {
	return controlplanetest.NewAccount(name, changes...)
}

// newNamespace creates a namespace.
func newNamespace(ctx context.Context, labels map[string]string) string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: uniqueName("shop"), Labels: labels}}
	Expect(admin.Create(ctx, namespace)).To(Succeed())
	return namespace.Name
}

// limits returns a change that sets spec.limits.maxKeys.
func limits(n int32, changes ...func(*v1alpha1.Limits)) func(*v1alpha1.AccountSpec) {
	return func(a *v1alpha1.AccountSpec) {
		a.Limits = &v1alpha1.Limits{MaxKeys: &n}
		for _, change := range changes {
			change(a.Limits)
		}
	}
}

func queue(l *v1alpha1.Limits)      { l.Enforcement = v1alpha1.EnforcementQueue }
func usableOnly(l *v1alpha1.Limits) { l.Counting = v1alpha1.CountUsable }

func label(s string) func(*v1alpha1.APIKeySpec) {
	return func(k *v1alpha1.APIKeySpec) { k.Label = s }
}

func state(s v1alpha1.KeyState) func(*v1alpha1.APIKeySpec) {
	return func(k *v1alpha1.APIKeySpec) { k.State = s }
}

func expiration(s string) func(*v1alpha1.APIKeySpec) {
	return func(k *v1alpha1.APIKeySpec) { k.Expiration = s }
}

// create creates objects.
func create[T client.Object](ctx context.Context, objects ...T) {
	GinkgoHelper()
	for _, o := range objects {
		Expect(controlplanetest.Create(ctx, admin, o)).To(Succeed())
	}
}

func read(ctx context.Context, o client.Object) {
	GinkgoHelper()
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
}

// change changes the spec of a key as `kubectl patch` does.
func change(ctx context.Context, k *v1alpha1.APIKey, changes ...func(*v1alpha1.APIKeySpec)) {
	GinkgoHelper()
	Expect(tryChange(ctx, k, changes...)).To(Succeed())
}

// changeAccount changes the spec of an account as `kubectl patch` does.
func changeAccount(ctx context.Context, a *v1alpha1.Account, changes ...func(*v1alpha1.AccountSpec)) {
	GinkgoHelper()
	before := a.DeepCopy()
	for _, change := range changes {
		change(&a.Spec)
	}
	Expect(admin.Patch(ctx, a, client.MergeFrom(before))).To(Succeed())
}

// verdict returns status and reason of a condition, such as True/Active, or an empty string.
func verdict(conditions []metav1.Condition, conditionType string) string {
	c := meta.FindStatusCondition(conditions, conditionType)
	if c == nil {
		return ""
	}
	return string(c.Status) + "/" + c.Reason
}

func ready(k *v1alpha1.APIKey) string { return verdict(k.Status.Conditions, v1alpha1.ConditionReady) }

// message returns the message of a condition.
func message(conditions []metav1.Condition, conditionType string) string {
	if c := meta.FindStatusCondition(conditions, conditionType); c != nil {
		return c.Message
	}
	return ""
}

// awaitStatus waits until the status of a key describes the current spec and a check passes.
func awaitStatus(ctx context.Context, k *v1alpha1.APIKey, check func(Gomega)) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(k), k)).To(Succeed())
		g.Expect(k.Status.ObservedGeneration).To(Equal(k.Generation), "observedGeneration of %s: %s", k.Name, ready(k))
		check(g)
	}).WithContext(ctx).Should(Succeed())
}

// becomeNotAccepted waits until keys have condition Accepted=False with a reason.
func becomeNotAccepted(ctx context.Context, reason string, list ...*v1alpha1.APIKey) {
	GinkgoHelper()
	for _, k := range list {
		awaitStatus(ctx, k, func(g Gomega) {
			g.Expect(verdict(k.Status.Conditions, v1alpha1.ConditionAccepted)).To(Equal("False/"+reason), "Accepted of %s", k.Name)
		})
	}
}

// awaitAccount waits until a check of an account passes.
func awaitAccount(ctx context.Context, a *v1alpha1.Account, check func(Gomega)) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(a), a)).To(Succeed())
		check(g)
	}).WithContext(ctx).Should(Succeed())
}

// materialOf returns the current key in the Secret of an APIKey.
func materialOf(ctx context.Context, k *v1alpha1.APIKey) string {
	GinkgoHelper()
	return string(secretOf(ctx, k).Data[keys.EntryCurrent])
}

// expectSecretMatchesStatus checks that the key controls one Secret, which holds the current credential of its status.
func expectSecretMatchesStatus(ctx context.Context, g Gomega, k *v1alpha1.APIKey) {
	GinkgoHelper()
	var list corev1.SecretList
	g.Expect(admin.List(ctx, &list, client.InNamespace(k.Namespace))).To(Succeed())
	var own []corev1.Secret
	for _, s := range list.Items {
		if metav1.IsControlledBy(&s, k) {
			own = append(own, s)
		}
	}
	g.Expect(own).To(HaveLen(1), "Secrets of APIKey %s", k.Name)
	material := string(own[0].Data[keys.EntryCurrent])
	identity, err := keys.EffectiveFormat(k, nil).Parse(credential.Material(material))
	g.Expect(err).NotTo(HaveOccurred(), "Secret of APIKey %s", k.Name)
	current := controlplanetest.CredentialOf(k, v1alpha1.RoleCurrent)
	g.Expect(current).NotTo(BeNil(), "credential of APIKey %s", k.Name)
	g.Expect(current.SHA256 == controlplanetest.Digest(material)).To(BeTrue(), "the Secret of APIKey %s does not hold what verifiers know", k.Name)
	g.Expect(current.ID).To(Equal(identity.ID))
	g.Expect(k.Status.KeyID).To(Equal(identity.ID))
	g.Expect(k.Status.SecretRef).To(Equal(&v1alpha1.SecretRef{Name: own[0].Name, ResourceVersion: own[0].ResourceVersion}))
}

// tryChange changes the spec of a key as `kubectl patch` does, and returns the error of the API server.
func tryChange(ctx context.Context, k *v1alpha1.APIKey, changes ...func(*v1alpha1.APIKeySpec)) error {
	return controlplanetest.Change(ctx, admin, k, changes...)
}

// become waits until keys are in a state and Ready.
func become(ctx context.Context, want v1alpha1.ObservedState, list ...*v1alpha1.APIKey) {
	GinkgoHelper()
	Expect(controlplanetest.Become(ctx, admin, want, list...)).To(Succeed())
}

// secretOf reads the Secret of a key.
func secretOf(ctx context.Context, k *v1alpha1.APIKey) *corev1.Secret {
	GinkgoHelper()
	secret, err := controlplanetest.SecretOf(ctx, admin, k)
	Expect(err).NotTo(HaveOccurred())
	return secret
}
