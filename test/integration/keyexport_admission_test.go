// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

var _ = Describe("Admission of KeyExports", func() {
	It("denies a KeyExport that cannot be carried out, and says what to do", func(ctx SpecContext) {
		namespace := newNamespace(ctx, nil)
		settings := flagDefaults
		settings.ReservedDomains = []string{"argocd.argoproj.io"}
		startManagerWithWebhooks(ctx, managerOptions{defaults: &settings})
		newExport := func(name, target string) *v1alpha1.KeyExport {
			return &v1alpha1.KeyExport{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
				Spec:       v1alpha1.KeyExportSpec{Target: v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: target}},
			}
		}
		tryCreate := func(e *v1alpha1.KeyExport) error { return admin.Create(ctx, e, client.DryRunAll) }

		first := newExport("first", "gateway-keys")
		Expect(admin.Create(ctx, first)).To(Succeed())
		Eventually(func() error { return tryCreate(newExport("second", "gateway-keys")) }).WithContext(ctx).Should(And(
			WithTransform(apierrors.IsForbidden, BeTrue()),
			MatchError(ContainSubstring("TargetConflict: spec.target.name: KeyExport first already writes Secret gateway-keys: choose another name"))))
		Expect(tryCreate(newExport("third", "other-keys"))).To(Succeed())

		cluster := newExport("cluster", "other-keys")
		cluster.Spec.Target.Labels = map[string]string{"argocd.argoproj.io/secret-type": "cluster"}
		Expect(tryCreate(cluster)).To(MatchError(ContainSubstring("must not use the reserved domain argocd.argoproj.io")))
		label := controlplanetest.MergePatch(`{"spec":{"target":{"labels":{"argocd.argoproj.io/secret-type":"cluster"}}}}`)
		Expect(admin.Patch(ctx, first, label, client.DryRunAll)).To(MatchError(ContainSubstring("must not use the reserved domain argocd.argoproj.io")))

		By("deleting the first")
		Expect(admin.Delete(ctx, first)).To(Succeed())
		Eventually(func() error { return tryCreate(newExport("second", "gateway-keys")) }).WithContext(ctx).Should(Succeed())
	})
})
