// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// restartKeyCount returns the number of keys of the restart test: INTEGRATION_KEYS, or 500.
func restartKeyCount() int {
	GinkgoHelper()
	text := os.Getenv("INTEGRATION_KEYS")
	if text == "" {
		return 500
	}
	n, err := strconv.Atoi(text)
	Expect(err).NotTo(HaveOccurred(), "INTEGRATION_KEYS")
	return n
}

// readsSecrets reports whether a request reads the data of Secrets.
func readsSecrets(r request) bool {
	return strings.HasPrefix(r.resource, "secrets") && r.method == http.MethodGet && !r.metadata
}

var _ = Describe("The requests of the manager", func() {
	const perAccount = 5
	issue := func(ctx SpecContext, total int) (namespace string, all []*v1alpha1.APIKey) {
		GinkgoHelper()
		namespace = newNamespace(ctx, nil)
		for i := range total {
			k := newKey(namespace, fmt.Sprintf("key-%d", i), fmt.Sprintf("%s-%d", namespace, i/perAccount))
			if i%perAccount == 0 {
				create(ctx, newAccount(k.Spec.Account))
			}
			all = append(all, k)
		}
		concurrently(16, total, func(i int) { create(ctx, all[i]) })
		return namespace, all
	}

	It("to issue keys are one Secret, one status and one Event each, and few writes of the account", func(ctx SpecContext) {
		const total, accounts = 200, 200 / perAccount
		m := startManager(ctx, managerOptions{})
		_, all := issue(ctx, total)
		become(ctx, v1alpha1.StateActive, all...)
		recorder.awaitQuiet(ctx)
		writes := m.traffic.writes()
		GinkgoWriter.Printf("%d keys of %d accounts: %v, refused as stale: %v\n", total, accounts, writes, m.traffic.conflicts())
		Expect(m.traffic.conflicts()["PUT apikeys/status"]).To(BeNumerically("<", total/10))
		Expect(writes).To(HaveKeyWithValue("POST secrets", total))
		Expect(writes).To(HaveKeyWithValue("PUT apikeys/status", total))
		Expect(writes).To(HaveKeyWithValue("POST events", total))
		// The account's first status, a batch or two of slots, and the counts afterwards.
		Expect(writes["PUT accounts/status"]).To(BeNumerically("<=", 5*accounts))
		Expect(writes).To(HaveLen(4), "it writes nothing else")
		// After a status write that was refused as stale, the manager reads the Secret that it has created.
		Expect(len(m.traffic.all(readsSecrets))).To(BeNumerically("<=", m.traffic.conflicts()["PUT apikeys/status"]), "it reads no other Secret")

		By("disabling and enabling all keys")
		m.traffic.reset()
		concurrently(16, total, func(i int) {
			change(ctx, all[i], state(v1alpha1.KeyStateInactive))
			become(ctx, v1alpha1.StateInactive, all[i])
			change(ctx, all[i], state(v1alpha1.KeyStateActive))
			become(ctx, v1alpha1.StateActive, all[i])
		})
		recorder.awaitQuiet(ctx)
		writes = m.traffic.writes()
		GinkgoWriter.Printf("all off and on: %v\n", writes)
		Expect(writes).To(HaveKeyWithValue("PUT apikeys/status", 2*total))
		Expect(writes).NotTo(HaveKey("PUT secrets"))
		Expect(m.traffic.all(readsSecrets)).To(BeEmpty(), "it reads no Secret")
	})

	It("to rotate 500 keys at once are one Secret, at most three statuses and one Event each", func(ctx SpecContext) {
		const total = 500
		m := startManager(ctx, managerOptions{})
		_, all := issue(ctx, total)
		become(ctx, v1alpha1.StateActive, all...)
		recorder.awaitQuiet(ctx)
		before := map[string]string{}
		for _, k := range all {
			before[k.Name] = k.Status.KeyID
		}
		m.traffic.reset()
		requested := keystest.Instant(time.Now())
		concurrently(16, total, func(i int) {
			change(ctx, all[i], func(s *v1alpha1.APIKeySpec) {
				s.Rotation = &v1alpha1.Rotation{RequestedAt: requested, Overlap: "10s"}
			})
		})
		for _, k := range all {
			awaitStatus(ctx, k, func(g Gomega) {
				g.Expect(k.Status.Rotation.ObservedRequestedAt).To(Equal(requested), "APIKey %s does not acknowledge the request", k.Name)
				g.Expect(k.Status.KeyID).NotTo(Equal(before[k.Name]), "APIKey %s is not rotated", k.Name)
				g.Expect(k.Status.Credentials).To(HaveLen(1), "the overlap of APIKey %s is not over", k.Name)
				expectSecretMatchesStatus(ctx, g, k)
			})
		}
		recorder.awaitQuiet(ctx)
		writes := m.traffic.writes()
		GinkgoWriter.Printf("%d rotations: %v\n", total, writes)
		Expect(writes).To(HaveKeyWithValue("PUT secrets", total))
		// Staged, current, and the previous one gone. A write that a stale cache made in vain is refused and made again.
		Expect(writes["PUT apikeys/status"]).To(BeNumerically("<=", 3*total))
		Expect(writes).To(HaveKeyWithValue("POST events", total))
		Expect(writes).To(HaveLen(3), "it writes nothing else")
	})

	It("after a restart do not write anything", func(ctx SpecContext) {
		total := restartKeyCount()
		first := startManager(ctx, managerOptions{})
		began := time.Now()
		_, all := issue(ctx, total)
		become(ctx, v1alpha1.StateActive, all...)
		issued := time.Since(began)
		off := all[:10]
		for _, k := range off {
			change(ctx, k, state(v1alpha1.KeyStateInactive))
		}
		change(ctx, all[10], state(v1alpha1.KeyStateRevoked))
		become(ctx, v1alpha1.StateInactive, off...)
		become(ctx, v1alpha1.StateRevoked, all[10])
		recorder.awaitQuiet(ctx)
		first.stop()

		rounds := reconcileCount()
		began = time.Now()
		again := startManager(ctx, managerOptions{})
		Eventually(func() int { return reconcileCount() - rounds }).WithContext(ctx).Should(BeNumerically(">=", total+total/perAccount))
		settled := time.Since(began)
		Consistently(func() []request { return again.traffic.all(request.writes) }).WithContext(ctx).Should(BeEmpty(), "it writes")
		Expect(again.traffic.all(readsSecrets)).To(BeEmpty(), "it reads Secrets")
		asked := again.traffic.all(func(r request) bool { return r.resource != "" && !r.watch })
		GinkgoWriter.Printf("%d keys issued in %s; after a restart settled in %s with %d requests: %v\n",
			total, issued.Round(time.Millisecond), settled.Round(time.Millisecond), len(asked), asked)
		Expect(len(asked)).To(BeNumerically("<", 30), "reads come from the cache")
	})
})

// reconcileCount returns the number of reconciliations of all managers in this process.
func reconcileCount() int {
	GinkgoHelper()
	families, err := metrics.Registry.Gather()
	Expect(err).NotTo(HaveOccurred())
	rounds := 0.0
	for _, family := range families {
		if family.GetName() != "controller_runtime_reconcile_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			rounds += m.GetCounter().GetValue()
		}
	}
	return int(rounds)
}
