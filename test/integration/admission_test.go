// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

var _ = Describe("Admission", func() {
	var namespace string
	BeforeEach(func(ctx SpecContext) {
		namespace = newNamespace(ctx, nil)
		startManagerWithWebhooks(ctx, managerOptions{})
	})
	// fill creates an account with n active keys.
	fill := func(ctx SpecContext, account *v1alpha1.Account, n int) {
		GinkgoHelper()
		create(ctx, account)
		var list []*v1alpha1.APIKey
		for i := range n {
			list = append(list, newKey(namespace, fmt.Sprintf("key-%d", i), account.Name, label(fmt.Sprintf("key %d", i))))
		}
		create(ctx, list...)
		become(ctx, v1alpha1.StateActive, list...)
	}
	tryCreate := func(ctx SpecContext, k *v1alpha1.APIKey) error { return admin.Create(ctx, k, client.DryRunAll) }

	It("denies the sixth key with a reason, and accepts it once a slot is free", func(ctx SpecContext) {
		account := newAccount(uniqueName("acme"))
		fill(ctx, account, 5)
		sixth := newKey(namespace, "sixth", account.Name)
		err := tryCreate(ctx, sixth)
		Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
		Expect(err).To(MatchError(And(ContainSubstring("LimitReached"), ContainSubstring("has reached its key limit of 5"),
			ContainSubstring("delete a key, or raise spec.limits.maxKeys"))))
		Expect(admin.Delete(ctx, newKey(namespace, "key-0", ""))).To(Succeed())
		Eventually(func() error { return tryCreate(ctx, sixth) }).WithContext(ctx).Should(Succeed())
	})

	It("accepts the sixth key under Queue with a warning", func(ctx SpecContext) {
		account := newAccount(uniqueName("acme"), limits(1, queue))
		fill(ctx, account, 1)
		user, warnings := newWarningClient()
		Expect(user.Create(ctx, newKey(namespace, "second", account.Name))).To(Succeed())
		Expect(warnings()).To(ContainElement(ContainSubstring("has reached its key limit of 1: the key waits for a free slot")))
		becomeNotAccepted(ctx, v1alpha1.ReasonLimitReached, newKey(namespace, "second", account.Name))
	})

	It("warns that the account is suspended", func(ctx SpecContext) {
		account := newAccount(uniqueName("acme"), func(a *v1alpha1.AccountSpec) { a.State = v1alpha1.AccountSuspended })
		create(ctx, account)
		user, warnings := newWarningClient()
		k := newKey(namespace, "web", account.Name)
		Eventually(func() []string {
			Expect(user.Create(ctx, k.DeepCopy(), client.DryRunAll)).To(Succeed())
			return warnings()
		}).WithContext(ctx).Should(ContainElement(ContainSubstring("is suspended")))
	})

	It("denies what the account's policy forbids, and says what to do", func(ctx SpecContext) {
		account := newAccount(uniqueName("acme"), func(a *v1alpha1.AccountSpec) {
			a.AllowedScopes = []string{"conversions:*"}
			a.ExpirationPolicy = &v1alpha1.ExpirationPolicy{MaxLifetime: "720h"}
		})
		fill(ctx, account, 1)
		Eventually(func() error { return tryCreate(ctx, newKey(namespace, "web", account.Name, label("key 0"))) }).WithContext(ctx).Should(
			MatchError(And(ContainSubstring("LabelTaken"), ContainSubstring(namespace+"/key-0"), ContainSubstring("choose another label"))))
		Expect(tryCreate(ctx, newKey(namespace, "web", account.Name, func(k *v1alpha1.APIKeySpec) { k.Scopes = []string{"orders:read"} }))).To(
			MatchError(And(ContainSubstring("ScopeNotAllowed"), ContainSubstring("orders:read"), ContainSubstring("it allows conversions:*"))))
		Expect(tryCreate(ctx, newKey(namespace, "web", account.Name, expiration("2099-01-01")))).To(
			MatchError(And(ContainSubstring("LifetimeTooLong"), ContainSubstring("720h"), ContainSubstring("earlier"))))

		By("changing a valid key into one that violates the policy")
		k := newKey(namespace, "key-0", "")
		read(ctx, k)
		Expect(tryChange(ctx, k, func(k *v1alpha1.APIKeySpec) { k.Scopes = []string{"orders:read"} })).To(MatchError(ContainSubstring("ScopeNotAllowed")))
		read(ctx, k)
		Expect(tryChange(ctx, k, expiration("2099-01-01"))).To(MatchError(ContainSubstring("LifetimeTooLong")))

		By("disabling a key that violates the policy")
		read(ctx, account)
		changeAccount(ctx, account, func(a *v1alpha1.AccountSpec) {
			a.AllowedNamespaces = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}}
		})
		becomeNotAccepted(ctx, v1alpha1.ReasonNamespaceNotAllowed, k)
		change(ctx, k, state(v1alpha1.KeyStateInactive))
		awaitStatus(ctx, k, func(g Gomega) { g.Expect(k.Status.State).To(Equal(v1alpha1.StateInactive)) })
		Eventually(func() error { return tryCreate(ctx, newKey(namespace, "web", account.Name)) }).WithContext(ctx).Should(
			MatchError(And(ContainSubstring("NamespaceNotAllowed"), ContainSubstring("spec.allowedNamespaces"))))
	})

	It("denies an account with an invalid selector", func(ctx SpecContext) {
		err := admin.Create(ctx, newAccount(uniqueName("acme"), func(a *v1alpha1.AccountSpec) {
			a.AllowedNamespaces = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Within", Values: []string{"a"}}}}
		}))
		Expect(err).To(MatchError(And(ContainSubstring("spec.allowedNamespaces"), ContainSubstring("Within"))))
	})
})

var _ = Describe("Invalid input", func() {
	whitelist := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("10.0.%d.%d", i/256, i%256))
		}
		return "[" + strings.Join(list, ", ") + "]"
	}
	DescribeTable("is rejected with a message that names the field and the remedy", func(ctx SpecContext, was, is, field string, remedy ...string) {
		namespace, account := newNamespace(ctx, nil), uniqueName("acme")
		manifest := func(spec string) *unstructured.Unstructured {
			o := &unstructured.Unstructured{}
			Expect(yaml.Unmarshal([]byte(strings.ReplaceAll(spec, "ACME", account)), &o.Object)).To(Succeed())
			o.SetAPIVersion(v1alpha1.GroupVersion.String())
			if o.GetKind() == "" {
				o.SetKind("APIKey")
				o.SetNamespace(namespace)
			}
			o.SetName(account)
			return o
		}
		if was != "" {
			create(ctx, manifest(was))
		}
		apply := func(spec string) error {
			return admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(manifest(spec)), client.FieldOwner("test"), client.ForceOwnership)
		}
		err := apply(is)
		Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%v", err)
		Expect(err.Error()).To(ContainSubstring(field))
		for _, words := range remedy {
			Expect(err.Error()).To(ContainSubstring(words))
		}
	},
		Entry("an unknown state", "", `spec: {account: ACME, state: Paused}`, "spec.state", `"Active"`, `"Inactive"`, `"Revoked"`),
		Entry("a changed account", `spec: {account: ACME}`, `spec: {account: other}`, "spec.account", "account is immutable", "create another APIKey"),
		Entry("un-revoking", `spec: {account: ACME, state: Revoked}`, `spec: {account: ACME, state: Active}`, "spec.state", "state must not change once it is Revoked", "create another APIKey"),
		Entry("un-revoking by deactivating", `spec: {account: ACME, state: Revoked}`, `spec: {account: ACME, state: Inactive}`, "spec.state", "create another APIKey"),
		Entry("a day that does not exist", "", `spec: {account: ACME, expiration: "2027-02-30"}`, "spec.expiration", "a valid date, such as 2027-02-28"),
		Entry("an empty whitelist", "", `spec: {account: ACME, ipWhitelist: []}`, "spec.ipWhitelist", "must not be empty", "omit the field"),
		Entry("a network with host bits", "", `spec: {account: ACME, ipWhitelist: ["10.0.0.1/8"]}`, "spec.ipWhitelist[0]", "CIDRs without host bits, such as 10.0.0.0/8"),
		Entry("a whitelist of 300 entries", "", `spec: {account: ACME, ipWhitelist: `+whitelist(300)+`}`, "spec.ipWhitelist", "at most 256 items"),
		Entry("a label of 129 characters", "", `spec: {account: ACME, label: "`+strings.Repeat("é", 129)+`"}`, "spec.label", "128"),
		Entry("an interval of 1s", "", `spec: {account: ACME, rotation: {interval: 1s}}`, "spec.rotation.interval", "at least 1m"),
		Entry("an unknown time zone", "", `{kind: Account, spec: {timeZone: Mars/Base}}`, "spec.timeZone", "such as UTC or Europe/Madrid"),
		Entry("a Secret's name that changes", `spec: {account: ACME}`, `spec: {account: ACME, secret: {name: other}}`, "spec.secret.name", "create another APIKey"),
	)
	It("does not include a label of 128 characters and a whitelist of 256 entries", func(ctx SpecContext) {
		namespace := newNamespace(ctx, nil)
		startManager(ctx, managerOptions{})
		k := newKey(namespace, "web", uniqueName("acme"), label(strings.Repeat("é", 128)), func(k *v1alpha1.APIKeySpec) {
			for i := range 256 {
				k.IPWhitelist = append(k.IPWhitelist, fmt.Sprintf("10.0.0.%d", i))
			}
		})
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
	})
})

// newWarningClient returns a client and a function that returns the warnings of the API server.
func newWarningClient() (client.Client, func() []string) {
	GinkgoHelper()
	w := &warnings{}
	config := plane.Config()
	config.WarningHandlerWithContext = w
	c, err := client.New(config, client.Options{Scheme: admin.Scheme()})
	Expect(err).NotTo(HaveOccurred())
	return c, w.all
}

type warnings struct {
	mu   sync.Mutex
	list []string
}

var _ rest.WarningHandlerWithContext = &warnings{}

func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, text)
	output.record("API warnings", []byte(text))
}

func (w *warnings) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.list...)
}
