// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

var _ = Describe("The state of a key", func() {
	var k *v1alpha1.APIKey
	BeforeEach(func(ctx SpecContext) {
		startManager(ctx, managerOptions{})
		k = newKey(newNamespace(ctx, nil), "web", uniqueName("acme"))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
	})

	It("can be Inactive and Active again with the same key", func(ctx SpecContext) {
		material, version := materialOf(ctx, k), secretOf(ctx, k).ResourceVersion
		change(ctx, k, state(v1alpha1.KeyStateInactive))
		become(ctx, v1alpha1.StateInactive, k)
		Expect(verdict(k.Status.Conditions, v1alpha1.ConditionValid)).To(Equal("False/Inactive"))
		Expect(verdict(k.Status.Conditions, v1alpha1.ConditionAccepted)).To(Equal("True/Accepted"))
		change(ctx, k, state(v1alpha1.KeyStateActive))
		become(ctx, v1alpha1.StateActive, k)
		Expect(verdict(k.Status.Conditions, v1alpha1.ConditionValid)).To(Equal("True/Active"))
		Expect(materialOf(ctx, k) == material).To(BeTrue(), "the key came back as another one")
		Expect(secretOf(ctx, k).ResourceVersion).To(Equal(version), "the Secret was written")
		expectEvent(ctx, k, corev1.EventTypeNormal, v1alpha1.ReasonDeactivated, "deactivated")
		expectEvent(ctx, k, corev1.EventTypeNormal, v1alpha1.ReasonActivated, "again")
		Expect(controlplanetest.HistoryReasons(k)).To(Equal([]string{"Issued", "Deactivated", "Activated"}))
	})

	It("becomes Expired at the second of its expiration, and Active again with a later one", func(ctx SpecContext) {
		material := materialOf(ctx, k)
		end := time.Now().UTC().Truncate(time.Second).Add(4 * time.Second)
		change(ctx, k, expiration(end.Format(time.RFC3339)))
		awaitStatus(ctx, k, func(g Gomega) { g.Expect(k.Status.ExpirationTime).NotTo(BeNil()) })
		Expect(k.Status.ExpirationTime.Time.Equal(end)).To(BeTrue())
		Expect(k.Status.State).To(Equal(v1alpha1.StateActive))
		become(ctx, v1alpha1.StateExpired, k)
		flipped := stateObservedAt(ctx, k, v1alpha1.StateExpired)
		Expect(flipped).To(BeTemporally(">=", end))
		Expect(flipped).To(BeTemporally("<", end.Add(time.Second)))
		Expect(k.Status.History[len(k.Status.History)-1].Time.Time.Equal(end)).To(BeTrue(), "it is recorded for the very second")
		Expect(verdict(k.Status.Conditions, v1alpha1.ConditionValid)).To(Equal("False/Expired"))
		expectEvent(ctx, k, corev1.EventTypeNormal, v1alpha1.ReasonExpired, "expired")

		By("moving the expiration later")
		change(ctx, k, expiration(time.Now().Add(time.Hour).Format(time.RFC3339)))
		become(ctx, v1alpha1.StateActive, k)
		By("moving the expiration into the past")
		change(ctx, k, expiration("2020-01-01"))
		become(ctx, v1alpha1.StateExpired, k)
		By("removing the expiration")
		change(ctx, k, expiration(""))
		become(ctx, v1alpha1.StateActive, k)
		Expect(k.Status.ExpirationTime).To(BeNil())
		Expect(materialOf(ctx, k) == material).To(BeTrue(), "the key came back as another one")
	})

	It("depends on the account's time zone if the expiration is a date", func(ctx SpecContext) {
		change(ctx, k, expiration("2099-02-28"))
		awaitStatus(ctx, k, func(g Gomega) { g.Expect(k.Status.ExpirationTime).NotTo(BeNil()) })
		Expect(k.Status.ExpirationTime.UTC().Format(time.RFC3339)).To(Equal("2099-02-28T00:00:00Z"))
		account := newAccount(k.Spec.Account)
		read(ctx, account)
		changeAccount(ctx, account, func(a *v1alpha1.AccountSpec) { a.TimeZone = "Europe/Madrid" })
		awaitStatus(ctx, k, func(g Gomega) {
			g.Expect(k.Status.ExpirationTime.UTC().Format(time.RFC3339)).To(Equal("2099-02-27T23:00:00Z"))
		})
	})

	It("stays Revoked, and its Secret is cleared but not deleted", func(ctx SpecContext) {
		before := secretOf(ctx, k)
		change(ctx, k, state(v1alpha1.KeyStateRevoked))
		become(ctx, v1alpha1.StateRevoked, k)
		after := secretOf(ctx, k)
		Expect(after.UID).To(Equal(before.UID))
		Expect(after.Data).To(BeEmpty(), "a gateway may take every entry for a key")
		Expect(after.Annotations["apikey-manager.io/revoked"]).To(ContainSubstring("revoked for good"))
		Expect(verdict(k.Status.Conditions, v1alpha1.ConditionValid)).To(Equal("False/Revoked"))
		expectEvent(ctx, k, corev1.EventTypeNormal, v1alpha1.ReasonRevoked, "permanently")
		Expect(tryChange(ctx, k, state(v1alpha1.KeyStateActive))).To(MatchError(ContainSubstring("state must not change once it is Revoked")))

		By("putting a key back into the Secret")
		after.Data = map[string][]byte{"api-key": before.Data["api-key"]}
		Expect(admin.Update(ctx, after)).To(Succeed())
		Eventually(func() map[string][]byte { return secretOf(ctx, k).Data }).WithContext(ctx).ShouldNot(HaveKey("api-key"))
		recorder.awaitQuiet(ctx)
		become(ctx, v1alpha1.StateRevoked, k)
	})

	It("stays Active when its Secret is deleted: a new credential is issued, the old one is valid during the overlap", func(ctx SpecContext) {
		old := materialOf(ctx, k)
		Expect(admin.Delete(ctx, secretOf(ctx, k))).To(Succeed())
		expectReissued(ctx, k, old)
		recorder.awaitQuiet(ctx)
		read(ctx, k)
		expectSecretMatchesStatus(ctx, Default, k)
	})

	It("stays Active when its Secret is edited: a new credential is issued, the old one is valid during the overlap", func(ctx SpecContext) {
		old, secret := materialOf(ctx, k), secretOf(ctx, k)
		secret.Data["api-key"] = []byte("of my own")
		Expect(admin.Update(ctx, secret)).To(Succeed())
		expectReissued(ctx, k, old)
		recorder.awaitQuiet(ctx)
		read(ctx, k)
		expectSecretMatchesStatus(ctx, Default, k)
	})

	It("stays Active when its Secret is deleted twice: only the last two credentials are valid", func(ctx SpecContext) {
		first := materialOf(ctx, k)
		Expect(admin.Delete(ctx, secretOf(ctx, k))).To(Succeed())
		expectReissued(ctx, k, first)
		second := materialOf(ctx, k)
		Expect(admin.Delete(ctx, secretOf(ctx, k))).To(Succeed())
		expectReissued(ctx, k, second)
		Expect(k.Status.Credentials).To(HaveLen(2))
	})

	It("does not depend on labels of the Secret, which are restored", func(ctx SpecContext) {
		material, secret := materialOf(ctx, k), secretOf(ctx, k)
		secret.Labels = map[string]string{"app.kubernetes.io/managed-by": "apikey-manager", "mine": "stays"}
		Expect(admin.Update(ctx, secret)).To(Succeed())
		Eventually(func() map[string]string { return secretOf(ctx, k).Labels }).WithContext(ctx).Should(And(
			HaveKeyWithValue(keys.LabelAccount, k.Spec.Account), HaveKeyWithValue("mine", "stays")))
		Expect(materialOf(ctx, k) == material).To(BeTrue(), "the key changed")

		By("removing the label by which the manager selects Secrets")
		secret = secretOf(ctx, k)
		delete(secret.Labels, keys.LabelManagedBy)
		Expect(admin.Update(ctx, secret)).To(Succeed())
		Eventually(func() map[string]string { return secretOf(ctx, k).Labels }).WithContext(ctx).Should(HaveKeyWithValue(keys.LabelManagedBy, keys.ManagedBy))
		Expect(materialOf(ctx, k) == material).To(BeTrue(), "the key changed")
		awaitStatus(ctx, k, func(g Gomega) { expectSecretMatchesStatus(ctx, g, k) })
	})

	It("is not inherited by another key of the same name", func(ctx SpecContext) {
		material := materialOf(ctx, k)
		Expect(admin.Delete(ctx, k)).To(Succeed())
		again := newKey(k.Namespace, k.Name, k.Spec.Account)
		create(ctx, again)
		if !plane.HasControllers() {
			Expect(admin.Delete(ctx, secretOf(ctx, k))).To(Succeed()) // what the garbage collector would do
		}
		become(ctx, v1alpha1.StateActive, again)
		awaitStatus(ctx, again, func(g Gomega) { expectSecretMatchesStatus(ctx, g, again) })
		Expect(again.UID).NotTo(Equal(k.UID))
		Expect(materialOf(ctx, again) == material).To(BeFalse(), "the new key has the credential of the old one")
	})
})

// stateObservedAt returns when a watch received the first version with a state.
func stateObservedAt(ctx SpecContext, k *v1alpha1.APIKey, want v1alpha1.ObservedState) time.Time {
	GinkgoHelper()
	recorder.catchUp(ctx)
	for _, e := range recorder.versionsOf(kindKey, k.UID) {
		if e.object.(*v1alpha1.APIKey).Status.State == want {
			return e.seen
		}
	}
	Fail("no watch event has the state " + string(want))
	return time.Time{}
}

// expectReissued waits until a key has a new current credential, and the old one as the previous credential.
func expectReissued(ctx SpecContext, k *v1alpha1.APIKey, old string) {
	GinkgoHelper()
	previous := ""
	awaitStatus(ctx, k, func(g Gomega) {
		c := controlplanetest.CredentialOf(k, v1alpha1.RolePrevious)
		g.Expect(c).NotTo(BeNil())
		g.Expect(c.NotAfter).NotTo(BeNil())
		g.Expect(c.NotAfter.Sub(controlplanetest.CredentialOf(k, v1alpha1.RoleCurrent).IssuedAt.Time)).To(Equal(24 * time.Hour))
		previous = c.SHA256
		g.Expect(previous == controlplanetest.Digest(old)).To(BeTrue(), "the previous credential is not the one that was lost")
		expectSecretMatchesStatus(ctx, g, k)
	})
	Expect(ready(k)).To(Equal("True/Active"))
	Expect(materialOf(ctx, k) == old).To(BeFalse(), "the key is the old one")
	expectEvent(ctx, k, corev1.EventTypeNormal, v1alpha1.ReasonReissued, "deleted or edited")
}
