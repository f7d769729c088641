// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"maps"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

const exportTarget = "gateway-keys"

// newKeyExport returns a KeyExport of the keys of one account.
func newKeyExport(namespace, account string, changes ...func(*v1alpha1.KeyExportSpec)) *v1alpha1.KeyExport {
	e := &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "gateway"}}
	e.Spec.Accounts = []string{account}
	e.Spec.Target = v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: exportTarget}
	for _, c := range changes {
		c(&e.Spec)
	}
	return e
}

// createExports creates KeyExports, and deletes them at the end of the spec: the managers of other specs would read their objects.
func createExports(ctx context.Context, list ...client.Object) {
	GinkgoHelper()
	create(ctx, list...)
	DeferCleanup(func(ctx SpecContext) {
		for _, e := range list {
			Expect(client.IgnoreNotFound(admin.Delete(ctx, e))).To(Succeed())
		}
	})
}

func exportKeys(s *v1alpha1.KeyExportSpec)       { s.Content = v1alpha1.ExportContentKey }
func exportObjects(s *v1alpha1.KeyExportSpec)    { s.Layout = v1alpha1.ExportLayoutObjects }
func exportConfigMaps(s *v1alpha1.KeyExportSpec) { s.Target.Kind = v1alpha1.ExportToConfigMap }
func allowKeys(s *v1alpha1.AccountSpec)          { s.ExportPolicy = v1alpha1.ExportKey }

// exportedValues returns the values of all objects that a KeyExport owns, sorted.
func exportedValues(ctx context.Context, e *v1alpha1.KeyExport) []string {
	GinkgoHelper()
	values := []string{}
	var secrets corev1.SecretList
	Expect(admin.List(ctx, &secrets, client.InNamespace(e.Namespace))).To(Succeed())
	for i := range secrets.Items {
		if metav1.IsControlledBy(&secrets.Items[i], e) {
			for _, v := range secrets.Items[i].Data {
				values = append(values, string(v))
			}
		}
	}
	var configMaps corev1.ConfigMapList
	Expect(admin.List(ctx, &configMaps, client.InNamespace(e.Namespace))).To(Succeed())
	for i := range configMaps.Items {
		if metav1.IsControlledBy(&configMaps.Items[i], e) {
			values = slices.AppendSeq(values, maps.Values(configMaps.Items[i].Data))
		}
	}
	slices.Sort(values)
	return values
}

func awaitExported(ctx context.Context, e *v1alpha1.KeyExport, want ...string) {
	GinkgoHelper()
	slices.Sort(want)
	Eventually(func() []string { return exportedValues(ctx, e) }).WithContext(ctx).Should(HaveExactElements(want))
}

func digestsOf(ctx context.Context, k *v1alpha1.APIKey) []string {
	GinkgoHelper()
	read(ctx, k)
	var list []string
	for _, c := range k.Status.Credentials {
		list = append(list, "sha256:"+c.SHA256)
	}
	return list
}

func readyOfExport(ctx context.Context, e *v1alpha1.KeyExport) func() string {
	return func() string {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(e), e); err != nil {
			return err.Error()
		}
		return verdict(e.Status.Conditions, v1alpha1.ConditionReady)
	}
}

var _ = Describe("A KeyExport", func() {
	var shop, gateway string
	var account *v1alpha1.Account
	var web *v1alpha1.APIKey
	issueWeb := func(ctx SpecContext, changes ...func(*v1alpha1.APIKeySpec)) {
		GinkgoHelper()
		shop, gateway = newNamespace(ctx, nil), newNamespace(ctx, nil)
		account = newAccount(shop, allowKeys)
		create(ctx, account)
		web = newKey(shop, "web", account.Name, changes...)
		create(ctx, web)
		become(ctx, v1alpha1.StateActive, web)
	}

	DescribeTable("holds what verifiers accept", func(ctx SpecContext, changes ...func(*v1alpha1.KeyExportSpec)) {
		m := startManager(ctx, managerOptions{})
		issueWeb(ctx)
		e := newKeyExport(gateway, account.Name, changes...)
		createExports(ctx, e)
		held := digestsOf(ctx, web)
		if e.Spec.Content == v1alpha1.ExportContentKey {
			held = []string{materialOf(ctx, web)}
		}
		awaitExported(ctx, e, held...)
		Eventually(readyOfExport(ctx, e)).WithContext(ctx).Should(Equal("True/" + v1alpha1.ReasonExported))

		By("costing no request while nothing changes")
		recorder.awaitQuiet(ctx)
		m.traffic.reset()
		Consistently(m.traffic.writes, "1s").Should(BeEmpty())

		By("withdrawing an inactive key, and restoring it")
		change(ctx, web, state(v1alpha1.KeyStateInactive))
		awaitExported(ctx, e)
		change(ctx, web, state(v1alpha1.KeyStateActive))
		awaitExported(ctx, e, held...)

		By("withdrawing the keys of a suspended account")
		changeAccount(ctx, account, func(s *v1alpha1.AccountSpec) { s.State = v1alpha1.AccountSuspended })
		awaitExported(ctx, e)
		changeAccount(ctx, account, func(s *v1alpha1.AccountSpec) { s.State = v1alpha1.AccountActive })
		awaitExported(ctx, e, held...)

		By("removing what another client adds, and restoring what it deletes")
		var objects corev1.SecretList
		Expect(admin.List(ctx, &objects, client.InNamespace(gateway))).To(Succeed())
		s := objects.Items[0].DeepCopy()
		s.Data["intruder"], s.Labels = []byte("sha256:00"), nil
		Expect(admin.Update(ctx, s)).To(Succeed())
		awaitExported(ctx, e, held...)
		Expect(admin.Delete(ctx, s)).To(Succeed())
		awaitExported(ctx, e, held...)

		By("withdrawing a key that is deleted while no manager runs")
		m.stop()
		Expect(admin.Delete(ctx, web)).To(Succeed())
		Eventually(func() bool { return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(web), web)) }).Should(BeTrue())
		Expect(exportedValues(ctx, e)).To(HaveLen(1))
		startManager(ctx, managerOptions{})
		awaitExported(ctx, e)
	},
		Entry("as digests"),
		Entry("as keys", exportKeys),
		Entry("as one object for each", exportKeys, exportObjects),
	)

	It("clears managedFields unless another client needs them", func(ctx SpecContext) {
		startManager(ctx, managerOptions{})
		issueWeb(ctx)
		e := newKeyExport(gateway, account.Name)
		createExports(ctx, e)
		held := digestsOf(ctx, web)
		awaitExported(ctx, e, held...)
		change(ctx, web, state(v1alpha1.KeyStateInactive))
		awaitExported(ctx, e)
		target := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: gateway, Name: exportTarget}}
		read(ctx, target)
		Expect(target.ManagedFields).To(BeEmpty())

		By("leaving those of a client that applied a label")
		applied := applycorev1.Secret(exportTarget, gateway).WithLabels(map[string]string{"team": "gateway"})
		Expect(admin.Apply(ctx, applied, client.FieldOwner("gitops"), client.ForceOwnership)).To(Succeed())
		change(ctx, web, state(v1alpha1.KeyStateActive))
		awaitExported(ctx, e, held...)
		read(ctx, target)
		Expect(target.Labels).To(HaveKeyWithValue("team", "gateway"))
		Expect(target.ManagedFields).To(ContainElement(And(
			HaveField("Manager", "gitops"), HaveField("Operation", metav1.ManagedFieldsOperationApply),
		)))
	})

	It("withdraws a key when it expires", func(ctx SpecContext) {
		startManager(ctx, managerOptions{})
		end := time.Now().Add(4 * time.Second).Truncate(time.Second)
		issueWeb(ctx, expiration(end.Format(time.RFC3339)))
		e := newKeyExport(gateway, account.Name)
		createExports(ctx, e)
		awaitExported(ctx, e, digestsOf(ctx, web)...)
		Expect(time.Now()).To(BeTemporally("<", end), "the entry is there before the expiration")
		awaitExported(ctx, e)
		Expect(time.Now()).To(BeTemporally(">=", end))
	})

	DescribeTable("holds the next credential before the Secret of the key", func(ctx SpecContext, changes ...func(*v1alpha1.KeyExportSpec)) {
		startManager(ctx, managerOptions{})
		issueWeb(ctx)
		e := newKeyExport(gateway, account.Name, changes...)
		createExports(ctx, e)
		Eventually(func() []string { return exportedValues(ctx, e) }).WithContext(ctx).Should(HaveLen(1))
		old := materialOf(ctx, web)
		events, err := admin.Watch(ctx, &corev1.SecretList{}) // all namespaces, so that the events are in the order of the writes
		Expect(err).NotTo(HaveOccurred())
		defer events.Stop()
		change(ctx, web, func(s *v1alpha1.APIKeySpec) {
			s.Rotation = &v1alpha1.Rotation{RequestedAt: keystest.Instant(time.Now()), Overlap: "3s"}
		})
		exported := map[string]bool{}
		for next := ""; next == ""; {
			var s *corev1.Secret
			Eventually(events.ResultChan()).WithContext(ctx).Should(Receive(HaveField("Object", Satisfy(func(o any) bool {
				s, _ = o.(*corev1.Secret)
				return s != nil
			}))))
			switch {
			case metav1.IsControlledBy(s, e):
				for _, v := range s.Data {
					exported[string(v)] = true
				}
			case s.Namespace == shop && string(s.Data["api-key"]) != old:
				next = string(s.Data["api-key"])
				value := next
				if e.Spec.Content != v1alpha1.ExportContentKey {
					value = "sha256:" + credential.Material(next).SHA256()
				}
				Expect(exported[value]).To(BeTrue(), "the Secret of the key was written before the export")
			}
		}
		awaitStatus(ctx, web, func(g Gomega) { g.Expect(web.Status.Credentials).To(HaveLen(1)) }) // the overlap is over
		Eventually(func() []string { return exportedValues(ctx, e) }).WithContext(ctx).Should(HaveLen(1))
	},
		Entry("as digests"),
		Entry("as keys", exportKeys),
	)

	It("writes ConfigMaps only where the manager may", func(ctx SpecContext) {
		allowed := newNamespace(ctx, nil)
		create(ctx, &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: allowed, Name: "configmaps"},
			Rules: []rbacv1.PolicyRule{{
				APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list", "watch", "create", "update", "delete"},
			}},
		})
		create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: allowed, Name: "configmaps"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "configmaps"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "apikey-manager", Namespace: "apikey-manager-system"}},
		})
		startManager(ctx, managerOptions{configMapNamespaces: []string{allowed}})
		issueWeb(ctx)
		yes, no := newKeyExport(allowed, account.Name, exportConfigMaps), newKeyExport(gateway, account.Name, exportConfigMaps)
		createExports(ctx, yes, no)
		awaitExported(ctx, yes, digestsOf(ctx, web)...)
		Eventually(readyOfExport(ctx, no)).WithContext(ctx).Should(Equal("False/" + v1alpha1.ReasonConfigMapsNotAllowed))
		Expect(exportedValues(ctx, no)).To(BeEmpty())
		change(ctx, web, state(v1alpha1.KeyStateInactive))
		awaitExported(ctx, yes)
	})

	It("does not touch a Secret that it does not own", func(ctx SpecContext) {
		startManager(ctx, managerOptions{})
		issueWeb(ctx)
		foreign := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: gateway, Name: exportTarget}, Data: map[string][]byte{"mine": []byte("value")},
		}
		create(ctx, foreign)
		e := newKeyExport(gateway, account.Name)
		createExports(ctx, e)
		Eventually(readyOfExport(ctx, e)).WithContext(ctx).Should(Equal("False/" + v1alpha1.ReasonTargetConflict))
		version := foreign.ResourceVersion
		read(ctx, foreign)
		Expect(foreign.ResourceVersion).To(Equal(version))
	})
})
