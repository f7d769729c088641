// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

var _ = Describe("The keys of one tenant", func() {
	// delays creates keys one after the other, and returns how long each took to become Active, in order.
	delays := func(ctx SpecContext, namespace, account string, total int) []time.Duration {
		GinkgoHelper()
		took := make([]time.Duration, total)
		for i := range took {
			k := newKey(namespace, uniqueName("key"), account)
			began := time.Now()
			create(ctx, k)
			become(ctx, v1alpha1.StateActive, k)
			took[i] = time.Since(began).Round(time.Millisecond)
		}
		slices.Sort(took)
		return took
	}

	It("do not delay another tenant's new key while one of them changes all the time", func(ctx SpecContext) {
		const each = 15
		flooded, quiet := newNamespace(ctx, nil), newNamespace(ctx, nil)
		bystander := newAccount(uniqueName("bystander"), limits(2*each))
		flood := newAccount(uniqueName("flood"))
		create(ctx, bystander, flood)
		startManagerWithWebhooks(ctx, managerOptions{})
		hot := newKey(flooded, "hot", flood.Name)
		create(ctx, hot)
		become(ctx, v1alpha1.StateActive, hot)
		before := delays(ctx, quiet, bystander.Name, each)

		changes, stop := changeRepeatedly(hot)
		Eventually(changes.Load).WithContext(ctx).Should(BeNumerically(">", 100))
		began, first := time.Now(), changes.Load()
		during := delays(ctx, quiet, bystander.Name, each)
		rate := float64(changes.Load()-first) / time.Since(began).Seconds()
		stop()
		GinkgoWriter.Printf("a new key is Active after %s (median; longest %s), and after %s (longest %s) while another tenant changes a key %.0f times a second\n",
			before[each/2], before[each-1], during[each/2], during[each-1], rate)
		awaitStatus(ctx, hot, func(g Gomega) { g.Expect(hot.Status.ObservedGeneration).To(Equal(hot.Generation)) })
	})

	It("do not delay another tenant's new key while a thousand of them change at once", func(ctx SpecContext) {
		const total = 1000
		flooded, quiet := newNamespace(ctx, nil), newNamespace(ctx, nil)
		bystander, flood := newAccount(uniqueName("bystander")), newAccount(uniqueName("flood"), limits(total))
		create(ctx, bystander, flood)
		startManager(ctx, managerOptions{})
		all := make([]*v1alpha1.APIKey, total)
		concurrently(16, total, func(i int) {
			all[i] = newKey(flooded, fmt.Sprintf("key-%d", i), flood.Name)
			create(ctx, all[i])
		})
		become(ctx, v1alpha1.StateActive, all...)
		before := delays(ctx, quiet, bystander.Name, 1)
		recorder.awaitQuiet(ctx)

		began := time.Now()
		changeAccount(ctx, flood, func(a *v1alpha1.AccountSpec) { a.State = v1alpha1.AccountSuspended })
		during := delays(ctx, quiet, bystander.Name, 1)
		var list v1alpha1.APIKeyList
		Expect(admin.List(ctx, &list, client.InNamespace(flooded))).To(Succeed())
		waiting := len(slices.DeleteFunc(list.Items, func(k v1alpha1.APIKey) bool { return k.Status.State != v1alpha1.StateActive }))
		for _, k := range all {
			awaitStatus(ctx, k, func(g Gomega) { g.Expect(k.Status.State).To(Equal(v1alpha1.StateSuspended)) })
		}
		GinkgoWriter.Printf("a new key is Active after %s, and after %s while %d keys of another tenant wait, with %d of them still to come; all are done after %s\n",
			before[0], during[0], total, waiting, time.Since(began).Round(time.Millisecond))
		Expect(waiting).To(BeNumerically(">", total/4), "the new key has waited for the keys of the other tenant")
	})
})

// changeRepeatedly changes a key from several clients as fast as possible until stop is called, and counts the accepted changes.
func changeRepeatedly(k *v1alpha1.APIKey) (changes *atomic.Int64, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	changes = &atomic.Int64{}
	var clients sync.WaitGroup
	for c := range 4 {
		clients.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"label":"change %d of client %d"}}`, n, c))
				if admin.Patch(ctx, newKey(k.Namespace, k.Name, ""), patch) == nil {
					changes.Add(1)
				}
			}
		})
	}
	return changes, func() {
		cancel()
		clients.Wait()
	}
}
