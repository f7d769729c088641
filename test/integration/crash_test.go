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

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// crashPoint is a failure at one write of the scenario. Each has a namespace and an account of its own, so that all of them can
// run at the same time.
type crashPoint struct {
	failure string
	at      int
	name    string // of the namespace and of the account

	mu        sync.Mutex
	writes    int
	triggered bool
}

const (
	failRequest  = "refused" // the write does not reach the API server; the manager continues
	loseResponse = "lost"    // the write is carried out, but its response is lost; the manager continues
	crash        = "dies"    // the write is carried out, and no later request of the manager reaches the API server
)

// faultFor returns the fault for a request about this namespace or account.
func (c *crashPoint) faultFor(r request) fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.triggered && c.failure == crash {
		return faultBefore
	}
	c.writes++
	if c.writes != c.at {
		return faultNone
	}
	c.triggered = true
	if c.failure == failRequest {
		return faultBefore
	}
	return faultAfter
}

var _ = Describe("A manager that fails or crashes at its n-th write, for every n,", func() {
	It("leaves nothing that the next manager cannot repair", func(ctx SpecContext) {
		const furthest = 18 // more writes than the scenario needs
		points := map[string]*crashPoint{}
		for _, how := range []string{failRequest, loseResponse, crash} {
			for at := 1; at <= furthest; at++ {
				name := newNamespace(ctx, nil)
				points[name] = &crashPoint{failure: how, at: at, name: name}
			}
		}
		sabotage := func(r request) fault {
			c := points[r.namespace]
			if c == nil && strings.HasPrefix(r.resource, "accounts") {
				c = points[r.name+r.sentName]
			}
			if c == nil || r.resource == "events" || !r.writes() {
				return faultNone
			}
			return c.faultFor(r)
		}
		faulty := startManager(ctx, managerOptions{injectFault: sabotage})

		By("running the scenario with a failure at each write")
		forEach(points, func(c *crashPoint) { runScenario(ctx, c) })
		faulty.stop()

		By("starting another manager")
		startManager(ctx, managerOptions{})
		forEach(points, func(c *crashPoint) { expectRecovered(ctx, c) })
		recorder.awaitQuiet(ctx)
		forEach(points, func(c *crashPoint) { expectRecovered(ctx, c) })

		longest := 0
		for _, c := range points {
			longest = max(longest, c.writes)
			if c.at == furthest {
				Expect(c.triggered).To(BeFalse(), "the scenario needs more writes than were tested")
			}
		}
		GinkgoWriter.Printf("%d crash points; the scenario needed up to %d writes\n", len(points), longest)
	})
})

func forEach(points map[string]*crashPoint, do func(*crashPoint)) {
	var all sync.WaitGroup
	for _, c := range points {
		all.Go(func() {
			defer GinkgoRecover()
			do(c)
		})
	}
	all.Wait()
}

// runScenario creates two keys, deletes the Secret of one and revokes the other. It does not wait for a manager that has crashed.
func runScenario(ctx context.Context, c *crashPoint) {
	GinkgoHelper()
	lost, revoked := newKey(c.name, "lost", c.name, label("lost")), newKey(c.name, "revoked", c.name)
	create(ctx, lost, revoked)
	if !c.reaches(ctx, lost, v1alpha1.StateActive) || !c.reaches(ctx, revoked, v1alpha1.StateActive) {
		return
	}
	first := controlplanetest.CredentialOf(lost, v1alpha1.RoleCurrent).SHA256
	Expect(admin.Delete(ctx, secretOf(ctx, lost))).To(Succeed())
	change(ctx, revoked, state(v1alpha1.KeyStateRevoked))
	c.reaches(ctx, revoked, v1alpha1.StateRevoked)
	Eventually(func() bool {
		read(ctx, lost)
		return c.crashed() || controlplanetest.CredentialOf(lost, v1alpha1.RoleCurrent).SHA256 != first
	}).WithContext(ctx).Should(BeTrue())
}

func (c *crashPoint) crashed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.triggered && c.failure == crash
}

// reaches waits until a key is in a state, and reports whether it is. It does not wait if the manager has crashed.
func (c *crashPoint) reaches(ctx context.Context, k *v1alpha1.APIKey, want v1alpha1.ObservedState) bool {
	GinkgoHelper()
	reached := func() bool {
		read(ctx, k)
		return ready(k) == "True/"+string(want) && k.Status.ObservedGeneration == k.Generation
	}
	Eventually(func() bool { return reached() || c.crashed() }).WithContext(ctx).Should(BeTrue(), "%s at write %d: %s", c.failure, c.at, c.name)
	return reached()
}

// expectRecovered waits until the Secret of each Active key holds the current credential of its status, and the Secret of the revoked key
// holds none.
func expectRecovered(ctx context.Context, c *crashPoint) {
	GinkgoHelper()
	what := fmt.Sprintf("%s at write %d", c.failure, c.at)
	for _, name := range []string{"lost", "revoked"} {
		k := newKey(c.name, name, c.name)
		awaitStatus(ctx, k, func(g Gomega) {
			if k.Spec.State != v1alpha1.KeyStateRevoked {
				g.Expect(ready(k)).To(Equal("True/Active"), what)
				expectSecretMatchesStatus(ctx, g, k)
				return
			}
			g.Expect(ready(k)).To(Equal("True/Revoked"), what)
			secret := secretOf(ctx, k)
			g.Expect(secret.Data).NotTo(HaveKey(keys.EntryCurrent), what)
		})
	}
	a := newAccount(c.name)
	read(ctx, a)
	Expect(a.Status.Slots).To(HaveLen(2), what)
}

var _ = Describe("A manager that is killed with SIGKILL at random moments", func() {
	It("leaves nothing that the next manager cannot repair", func(ctx SpecContext) {
		const total, kills = 60, 4
		namespace := newNamespace(ctx, nil)
		m := startProcess(ctx)
		var all []*v1alpha1.APIKey
		for i := range total {
			all = append(all, newKey(namespace, fmt.Sprintf("key-%d", i), fmt.Sprintf("%s-%d", namespace, i/5)))
		}
		var work sync.WaitGroup
		work.Go(func() {
			defer GinkgoRecover()
			for i, k := range all {
				create(ctx, k)
				if i%3 == 2 { // delete Secrets meanwhile
					before := newKey(namespace, all[i-2].Name, "")
					read(ctx, before)
					if before.Status.SecretRef != nil {
						err := admin.Delete(ctx, secretOf(ctx, before))
						Expect(err == nil || apierrors.IsNotFound(err)).To(BeTrue(), "%v", err)
					}
				}
				pause(ctx, pollInterval)
			}
		})
		for range kills {
			wrote := make(chan struct{}, 1)
			recorder.subscribe(func(e write) {
				if e.kind == kindSecret && e.object.GetNamespace() == namespace {
					select {
					case wrote <- struct{}{}:
					default:
					}
				}
			})
			Eventually(wrote).WithContext(ctx).Should(Receive()) // between the Secret and the status
			m.Kill()
			m = startProcess(ctx)
		}
		work.Wait()
		become(ctx, v1alpha1.StateActive, all...)
		recorder.awaitQuiet(ctx)
		for _, k := range all {
			awaitStatus(ctx, k, func(g Gomega) { expectSecretMatchesStatus(ctx, g, k) })
		}
		Expect(secretsIn(ctx, namespace)).To(HaveLen(total))
	})
})
