// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// kstatus returns the status that Flux and other tools derive from an object.
func kstatus(ctx context.Context, g Gomega, kind string, o client.Object) status.Status {
	GinkgoHelper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(o), u)).To(Succeed())
	result, err := status.Compute(u)
	g.Expect(err).NotTo(HaveOccurred())
	return result.Status
}

var _ = Describe("kstatus", func() {
	becomes := func(ctx context.Context, want status.Status, kind string, o client.Object) {
		GinkgoHelper()
		Eventually(func(g Gomega) { g.Expect(kstatus(ctx, g, kind, o)).To(Equal(want)) }).WithContext(ctx).Should(Succeed())
	}

	It("reports keys and accounts as InProgress until a manager has reconciled them", func(ctx SpecContext) {
		account := newAccount(uniqueName("acme"))
		k := newKey(newNamespace(ctx, nil), "web", account.Name)
		create(ctx, account)
		create(ctx, k)
		Expect(kstatus(ctx, Default, "APIKey", k)).To(Equal(status.InProgressStatus))
		Expect(kstatus(ctx, Default, "Account", account)).To(Equal(status.InProgressStatus))
		startManager(ctx, managerOptions{})
		becomes(ctx, status.CurrentStatus, "APIKey", k)
		becomes(ctx, status.CurrentStatus, "Account", account)
	})

	It("reports a key as Current in every settled state", func(ctx SpecContext) {
		startManager(ctx, managerOptions{})
		account := newAccount(uniqueName("acme"))
		k, off := newKey(newNamespace(ctx, nil), "web", account.Name), newKey(newNamespace(ctx, nil), "off", account.Name)
		create(ctx, account)
		create(ctx, k, off)
		become(ctx, v1alpha1.StateActive, k, off)
		change(ctx, off, state(v1alpha1.KeyStateInactive))
		becomes(ctx, status.CurrentStatus, "APIKey", off)
		changeAccount(ctx, account, func(a *v1alpha1.AccountSpec) { a.State = v1alpha1.AccountSuspended })
		awaitStatus(ctx, k, func(g Gomega) { g.Expect(k.Status.State).To(Equal(v1alpha1.StateSuspended)) })
		becomes(ctx, status.CurrentStatus, "APIKey", k)
		becomes(ctx, status.CurrentStatus, "APIKey", off)
		becomes(ctx, status.CurrentStatus, "Account", account)
		changeAccount(ctx, account, func(a *v1alpha1.AccountSpec) { a.State = v1alpha1.AccountActive })
		become(ctx, v1alpha1.StateActive, k)
		change(ctx, k, state(v1alpha1.KeyStateRevoked))
		become(ctx, v1alpha1.StateRevoked, k)
		becomes(ctx, status.CurrentStatus, "APIKey", k)
	})

	It("reports a key that needs a user's action as Failed", func(ctx SpecContext) {
		startManager(ctx, managerOptions{})
		namespace := newNamespace(ctx, nil)
		create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"}})
		k := newKey(namespace, "web", uniqueName("acme"))
		create(ctx, k)
		becomes(ctx, status.FailedStatus, "APIKey", k)
	})
})
