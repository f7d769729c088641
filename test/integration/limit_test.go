// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

var _ = Describe("The limit of an account is never exceeded", func() {
	var namespaces []string
	BeforeEach(func(ctx SpecContext) {
		namespaces = nil
		for range 3 {
			namespaces = append(namespaces, newNamespace(ctx, nil))
		}
	})

	It("while 40 clients create 200 keys, with two managers of which one is killed", func(ctx SpecContext) {
		const limit, total, clients = 5, 200, 40
		account := newAccount(uniqueName("acme"), limits(limit, queue))
		create(ctx, account)
		startProcess(ctx)
		victim := startProcess(ctx)
		kill := firstSecretWritten(namespaces)

		By("creating the keys")
		awaitNextSecond()
		restarted := make(chan struct{})
		go func() {
			defer GinkgoRecover()
			defer close(restarted)
			<-kill
			victim.Kill()
			startProcess(ctx)
		}()
		concurrently(clients, total, func(i int) {
			create(ctx, newKey(namespaces[i%len(namespaces)], fmt.Sprintf("key-%d", i), account.Name))
		})
		Eventually(restarted).WithContext(ctx).Should(BeClosed())
		awaitLimit(ctx, account.Name, limit, total)

		By("checking every write")
		expectLimitKept(ctx, account.Name, limit, (*snapshot).holders)
		holders, waiters := holdersAndWaiters(ctx, account.Name)
		Expect(holders).To(HaveLen(limit))
		for _, k := range holders {
			expectSecretMatchesStatus(ctx, Default, k)
			Expect(k.CreationTimestamp.Sub(waiters[0].CreationTimestamp.Time)).To(BeNumerically("<", time.Second), "%s is younger than a waiter", k.Name)
		}
		GinkgoWriter.Printf("holders were created %s..%s, waiters %s..%s\n", creationTime(holders[0]), creationTime(holders[limit-1]), creationTime(waiters[0]), creationTime(waiters[len(waiters)-1]))

		By("deleting a key: the oldest waiting key is admitted without a change")
		for range 3 {
			_, waiters = holdersAndWaiters(ctx, account.Name)
			oldest, generation := waiters[0], waiters[0].Generation
			Expect(admin.Delete(ctx, holders[0])).To(Succeed())
			holders = holders[1:]
			become(ctx, v1alpha1.StateActive, oldest)
			Expect(oldest.Generation).To(Equal(generation))
			awaitHolders(ctx, account.Name, limit)
		}
		expectLimitKept(ctx, account.Name, limit, (*snapshot).holders)
	})

	It("while keys are created and deleted and managers are killed repeatedly", func(ctx SpecContext) {
		const limit, clients = 5, 12
		const duration = 8 * time.Second
		account := newAccount(uniqueName("acme"), limits(limit, queue))
		create(ctx, account)
		managers := []*controlplane.Manager{startProcess(ctx), startProcess(ctx)}
		storm, cancel := context.WithTimeout(ctx, duration)
		defer cancel()
		var created, deleted, killed atomic.Int64
		var work sync.WaitGroup
		for c := range clients {
			work.Go(func() {
				defer GinkgoRecover()
				for i := 0; storm.Err() == nil; i++ {
					k := newKey(namespaces[rand.IntN(len(namespaces))], fmt.Sprintf("key-%d-%d", c, i%4), account.Name)
					if admin.Create(ctx, k) == nil {
						created.Add(1)
					}
					pause(storm, 30*time.Millisecond)
					if admin.Delete(ctx, newKey(k.Namespace, fmt.Sprintf("key-%d-%d", c, rand.IntN(4)), "")) == nil {
						deleted.Add(1)
					}
				}
			})
		}
		for storm.Err() == nil {
			pause(storm, time.Second)
			i := rand.IntN(len(managers))
			managers[i].Kill()
			killed.Add(1)
			managers[i] = startProcess(ctx)
		}
		work.Wait()
		for i := range limit + 2 { // so that there are enough at the end
			create(ctx, newKey(namespaces[0], fmt.Sprintf("last-%d", i), account.Name))
		}
		awaitHolders(ctx, account.Name, limit)
		most, writes := expectLimitKept(ctx, account.Name, limit, (*snapshot).holders)
		GinkgoWriter.Printf("%d keys created, %d deleted, %d managers killed; at most %d of %d held in %d writes\n",
			created.Load(), deleted.Load(), killed.Load(), most, limit, writes)
		holders, _ := holdersAndWaiters(ctx, account.Name)
		for _, k := range holders {
			awaitStatus(ctx, k, func(g Gomega) { expectSecretMatchesStatus(ctx, g, k) })
		}
	})

	It("while keys are disabled and enabled, where only usable keys count", func(ctx SpecContext) {
		const limit, total, clients = 3, 12, 10
		const duration = 6 * time.Second
		account := newAccount(uniqueName("acme"), limits(limit, queue, usableOnly))
		create(ctx, account)
		startManager(ctx, managerOptions{})
		victim := startProcess(ctx)
		var all []*v1alpha1.APIKey
		for i := range total {
			all = append(all, newKey(namespaces[i%len(namespaces)], fmt.Sprintf("key-%d", i), account.Name))
		}
		create(ctx, all...)

		By("disabling and enabling keys")
		storm, cancel := context.WithTimeout(ctx, duration)
		defer cancel()
		var switched atomic.Int64
		var work sync.WaitGroup
		for range clients {
			work.Go(func() {
				defer GinkgoRecover()
				for storm.Err() == nil {
					k := all[rand.IntN(total)]
					to := []string{`"Active"`, `"Inactive"`}[rand.IntN(2)]
					Expect(admin.Patch(ctx, newKey(k.Namespace, k.Name, ""), client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"state":`+to+`}}`)))).To(Succeed())
					switched.Add(1)
					pause(storm, time.Duration(rand.IntN(60))*time.Millisecond)
				}
			})
		}
		pause(storm, duration/3)
		victim.Kill()
		startProcess(ctx)
		work.Wait()

		By("enabling all keys: the limit is reached, and the others wait")
		for _, k := range all {
			read(ctx, k)
			change(ctx, k, state(v1alpha1.KeyStateActive))
		}
		active := func() (n int) {
			for _, k := range all {
				read(ctx, k)
				if k.Status.State == v1alpha1.StateActive && k.Status.ObservedGeneration == k.Generation {
					n++
				}
			}
			return n
		}
		Eventually(active).WithContext(ctx).Should(Equal(limit))
		recorder.awaitQuiet(ctx)
		Expect(active()).To(Equal(limit))
		most, writes := expectLimitKept(ctx, account.Name, limit, (*snapshot).activeKeys)
		GinkgoWriter.Printf("%d switches; at most %d of %d were Active in %d writes\n", switched.Load(), most, limit, writes)

		By("disabling the active keys: three others are admitted")
		before := map[string]bool{}
		for _, k := range all {
			if k.Status.State == v1alpha1.StateActive {
				before[string(k.UID)] = true
				change(ctx, k, state(v1alpha1.KeyStateInactive))
			}
		}
		Eventually(func() int {
			n := active()
			for _, k := range all {
				if before[string(k.UID)] && k.Status.State != v1alpha1.StateInactive {
					return -1
				}
			}
			return n
		}).WithContext(ctx).Should(Equal(limit))
		expectLimitKept(ctx, account.Name, limit, (*snapshot).activeKeys)
	})

	It("when a disabled key is enabled and no slot is free, where only usable keys count", func(ctx SpecContext) {
		account := newAccount(uniqueName("acme"), limits(1, queue, usableOnly))
		create(ctx, account)
		startManager(ctx, managerOptions{})
		first := newKey(namespaces[0], "first", account.Name)
		second := newKey(namespaces[1], "second", account.Name)
		create(ctx, first)
		become(ctx, v1alpha1.StateActive, first)
		material := materialOf(ctx, first)
		create(ctx, second)
		becomeNotAccepted(ctx, v1alpha1.ReasonLimitReached, second)
		change(ctx, first, state(v1alpha1.KeyStateInactive))
		become(ctx, v1alpha1.StateInactive, first)
		become(ctx, v1alpha1.StateActive, second)
		change(ctx, first, state(v1alpha1.KeyStateActive))
		becomeNotAccepted(ctx, v1alpha1.ReasonLimitReached, first)
		Expect(first.Status.State).To(Equal(v1alpha1.StatePending))
		Expect(verdict(first.Status.Conditions, v1alpha1.ConditionValid)).To(Equal("False/NotAccepted"))
		change(ctx, second, state(v1alpha1.KeyStateRevoked))
		become(ctx, v1alpha1.StateRevoked, second)
		become(ctx, v1alpha1.StateActive, first)
		Expect(materialOf(ctx, first) == material).To(BeTrue(), "the key came back as another one")
		expectLimitKept(ctx, account.Name, 1, (*snapshot).activeKeys)
	})
})

// firstSecretWritten returns a channel that is closed when the first Secret in one of the namespaces has been written.
func firstSecretWritten(namespaces []string) <-chan struct{} {
	kill := make(chan struct{})
	now := sync.OnceFunc(func() { close(kill) })
	recorder.subscribe(func(e write) {
		if e.kind == kindSecret && slices.Contains(namespaces, e.object.GetNamespace()) {
			now()
		}
	})
	return kill
}

// awaitNextSecond waits for the next second to begin. Creation times have whole seconds: they show the order of two objects only if
// they were created in different seconds.
func awaitNextSecond() {
	next := time.Now().Truncate(time.Second).Add(time.Second + 20*time.Millisecond)
	<-time.After(time.Until(next))
}

// pause waits for a time, or until the context ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// concurrently calls do for each number below total, with a number of concurrent clients.
func concurrently(clients, total int, do func(i int)) {
	var next atomic.Int64
	var work sync.WaitGroup
	for range clients {
		work.Go(func() {
			defer GinkgoRecover()
			for i := int(next.Add(1)) - 1; i < total; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	work.Wait()
}

func keysOf(ctx context.Context, account string) []*v1alpha1.APIKey {
	GinkgoHelper()
	var list v1alpha1.APIKeyList
	Expect(admin.List(ctx, &list, client.MatchingFields{"spec.account": account})).To(Succeed())
	var all []*v1alpha1.APIKey
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	return all
}

// holdersAndWaiters returns the keys of an account with a credential and those without, oldest first.
func holdersAndWaiters(ctx context.Context, account string) (holders, waiters []*v1alpha1.APIKey) {
	GinkgoHelper()
	for _, k := range keysOf(ctx, account) {
		if len(k.Status.Credentials) > 0 {
			holders = append(holders, k)
		} else {
			waiters = append(waiters, k)
		}
	}
	for _, list := range [][]*v1alpha1.APIKey{holders, waiters} {
		slices.SortFunc(list, func(a, b *v1alpha1.APIKey) int {
			return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.UID, b.UID))
		})
	}
	return holders, waiters
}

func awaitHolders(ctx context.Context, account string, want int) {
	GinkgoHelper()
	Eventually(func() int {
		holders, _ := holdersAndWaiters(ctx, account)
		return len(holders)
	}).WithContext(ctx).Should(Equal(want))
	recorder.awaitQuiet(ctx)
	holders, _ := holdersAndWaiters(ctx, account)
	Expect(holders).To(HaveLen(want))
}

// awaitLimit waits until as many keys of an account as the limit are Active, and all others report LimitReached.
func awaitLimit(ctx context.Context, account string, limit, total int) {
	GinkgoHelper()
	Eventually(func() map[string]int {
		counts := map[string]int{}
		for _, k := range keysOf(ctx, account) {
			counts[ready(k)]++
		}
		return counts
	}).WithContext(ctx).Should(Equal(map[string]int{"True/Active": limit, "False/LimitReached": total - limit}))
	recorder.awaitQuiet(ctx)
	a := newAccount(account)
	read(ctx, a)
	Expect(a.Status.Keys.Usage).To(Equal(fmt.Sprintf("%d/%d", limit, limit)))
	Expect(*a.Status.Keys.Waiting).To(BeEquivalentTo(total - limit))
	var list corev1.SecretList
	Expect(admin.List(ctx, &list, client.MatchingLabels{"apikey-manager.io/account": account})).To(Succeed())
	Expect(list.Items).To(HaveLen(limit))
}

// expectLimitKept checks that no write exceeded the limit of an account.
func expectLimitKept(ctx context.Context, account string, limit int, count func(*snapshot, string) int) (most, writes int) {
	GinkgoHelper()
	recorder.catchUp(ctx)
	writes = recorder.replay(account, func(m *snapshot) {
		n := count(m, account)
		most = max(most, n)
		if n > limit {
			Fail(fmt.Sprintf("after write %[1]d, of %[2]s %[3]s, account %[5]s had %[4]d keys, and its limit is %[6]d", m.version, m.kind, client.ObjectKeyFromObject(m.object), n, account, limit))
		}
	})
	Expect(most).To(Equal(limit), "the limit was never reached: the test does not prove anything")
	return most, writes
}

func creationTime(k *v1alpha1.APIKey) string { return k.CreationTimestamp.Format(time.TimeOnly) }
