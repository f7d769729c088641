// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

var _ = Describe("Retention", func() {
	// retain advances the clock by an hour, and sets a retention of one minute.
	retain := func(ctx SpecContext, clock *offsetClock, a *v1alpha1.Account) {
		GinkgoHelper()
		clock.advance(time.Hour)
		read(ctx, a)
		changeAccount(ctx, a, func(s *v1alpha1.AccountSpec) {
			s.Retention = &v1alpha1.Retention{ExpiredAfter: "1m", RevokedAfter: "1m"}
		})
	}
	// endedKeys creates an active, an expired and a revoked key.
	endedKeys := func(ctx SpecContext, account string) (active, expired, revoked *v1alpha1.APIKey) {
		GinkgoHelper()
		namespace := newNamespace(ctx, nil)
		active, expired, revoked = newKey(namespace, "active", account), newKey(namespace, "expired", account), newKey(namespace, "revoked", account)
		create(ctx, active, expired, revoked)
		become(ctx, v1alpha1.StateActive, active, expired, revoked)
		change(ctx, expired, expiration("2020-01-01"))
		change(ctx, revoked, state(v1alpha1.KeyStateRevoked))
		become(ctx, v1alpha1.StateExpired, expired)
		become(ctx, v1alpha1.StateRevoked, revoked)
		return active, expired, revoked
	}

	It("deletes expired and revoked keys, also under RequireConfirmation", func(ctx SpecContext) {
		clock := &offsetClock{}
		startManagerWithWebhooks(ctx, managerOptions{clock: clock})
		account := newAccount(uniqueName("acme"), func(a *v1alpha1.AccountSpec) { a.DeletionPolicy = v1alpha1.DeletionRequireConfirmation })
		create(ctx, account)
		active, expired, revoked := endedKeys(ctx, account.Name)
		Expect(admin.Delete(ctx, revoked)).To(MatchError(ContainSubstring("requires confirmation for the deletion of a key")))
		retain(ctx, clock, account)
		for _, k := range []*v1alpha1.APIKey{expired, revoked} {
			Eventually(func() bool { return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(k), k.DeepCopy())) }).WithContext(ctx).Should(BeTrue())
			expectEvent(ctx, k, corev1.EventTypeNormal, v1alpha1.ReasonRetentionOver, "Deleting the key")
		}
		awaitAccount(ctx, account, func(g Gomega) { g.Expect(account.Status.Slots).To(HaveLen(1)) })
		become(ctx, v1alpha1.StateActive, active)
		Expect(admin.Delete(ctx, active)).To(MatchError(ContainSubstring("requires confirmation for the deletion of a key")))
	})

	It("deletes nothing under Forbid", func(ctx SpecContext) {
		clock := &offsetClock{}
		startManagerWithWebhooks(ctx, managerOptions{clock: clock})
		account := newAccount(uniqueName("acme"), func(a *v1alpha1.AccountSpec) { a.DeletionPolicy = v1alpha1.DeletionForbid })
		create(ctx, account)
		_, expired, revoked := endedKeys(ctx, account.Name)
		retain(ctx, clock, account)
		recorder.awaitQuiet(ctx)
		become(ctx, v1alpha1.StateExpired, expired)
		become(ctx, v1alpha1.StateRevoked, revoked)
		Expect(admin.Delete(ctx, revoked)).To(MatchError(ContainSubstring("forbids the deletion of keys")))

		By("allowing the deletion")
		read(ctx, account)
		changeAccount(ctx, account, func(a *v1alpha1.AccountSpec) { a.DeletionPolicy = v1alpha1.DeletionAllow })
		for _, k := range []*v1alpha1.APIKey{expired, revoked} {
			Eventually(func() bool { return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(k), k.DeepCopy())) }).WithContext(ctx).Should(BeTrue())
		}
	})
})
