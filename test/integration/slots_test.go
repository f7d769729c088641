// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

var _ = Describe("The status of an account with hundreds of slots", func() {
	const total = 300

	It("is written once for many keys that are created, changed and deleted at once", func(ctx SpecContext) {
		namespace, account := newNamespace(ctx, nil), newAccount(uniqueName("large"), limits(total))
		m := startManager(ctx, managerOptions{})
		create(ctx, account)
		all := make([]*v1alpha1.APIKey, total)
		for i := range all {
			all[i] = newKey(namespace, fmt.Sprintf("key-%04d", i), account.Name, label(fmt.Sprintf("Shop number %d", i)))
		}
		step := func(what string, do func()) {
			GinkgoHelper()
			m.traffic.reset()
			began := time.Now()
			do()
			recorder.awaitQuiet(ctx)
			written, bytes := m.traffic.sizes("PUT accounts/status")
			GinkgoWriter.Printf("%d keys %s in %s: %d writes of the account's status, %d bytes in all; all writes: %v, refused as stale: %v\n",
				total, what, time.Since(began).Round(time.Millisecond), written, bytes, m.traffic.writes(), m.traffic.conflicts())
			seconds := int(time.Since(began).Seconds())
			Expect(written).To(BeNumerically("<=", 10+2*seconds), "a write of the status for each batch of keys")
		}
		step("created", func() {
			concurrently(16, total, func(i int) { create(ctx, all[i]) })
			become(ctx, v1alpha1.StateActive, all...)
		})
		step("deactivated", func() {
			concurrently(16, total, func(i int) { change(ctx, all[i], state(v1alpha1.KeyStateInactive)) })
			become(ctx, v1alpha1.StateInactive, all...)
		})
		step("renamed", func() {
			concurrently(16, total, func(i int) { change(ctx, all[i], label(fmt.Sprintf("Branch %d", i))) })
			awaitAccount(ctx, account, func(g Gomega) {
				for _, s := range account.Status.Slots {
					g.Expect(s.Label).To(HavePrefix("Branch "))
				}
			})
		})
		step("deleted", func() {
			concurrently(16, total, func(i int) { Expect(admin.Delete(ctx, all[i])).To(Succeed()) })
			awaitAccount(ctx, account, func(g Gomega) { g.Expect(account.Status.Slots).To(BeEmpty()) })
		})
	})
})
