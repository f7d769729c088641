// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package fault_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
	"github.com/apikey-manager/apikey-manager/test/mailbox"
)

var (
	full = flag.Bool("full", false, "run all faults, which takes up to ten minutes: make test-fault")
	seed = flag.Uint64("seed", 0, "seed of the random choices, as printed by an earlier run; 0 chooses a new one")
)

// Timeouts of the test.
const (
	faultPeriod     = 7*time.Minute + 15*time.Second // all faults of a full run; the rest of ten minutes is for mails to be tried again
	settleTimeout   = time.Minute
	electionTimeout = 45 * time.Second
	mailTimeout     = 140 * time.Second // longer than the life of a claim
)

// fault is a failure of a manager or of something that it depends on.
type fault string

const (
	killAndWait    fault = "kill the leader, and let its lease run out"
	killAndRelease fault = "kill the leader, and give its lease up"
	pauseLeader    fault = "pause the leader, give its lease up, and let two lead"
	cutLeader      fault = "refuse the leader's connections to the API server"
	dropAll        fault = "drop all connections to the API server"
	stopServer     fault = "stop and start the API server"
	stopEtcd       fault = "stop and start etcd"
)

// schedule returns the faults of a run, in an order that depends on the seed.
func schedule(random *rand.Rand) []fault {
	times := map[fault]int{killAndRelease: 2, dropAll: 1, stopServer: 1}
	if *full {
		times = map[fault]int{killAndRelease: 47, killAndWait: 3, pauseLeader: 4, cutLeader: 2, dropAll: 5, stopServer: 2, stopEtcd: 2}
	}
	var list []fault
	for _, f := range []fault{killAndRelease, killAndWait, pauseLeader, cutLeader, dropAll, stopServer, stopEtcd} {
		for range times[f] {
			list = append(list, f)
		}
	}
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func TestFault(t *testing.T) {
	if testing.Short() {
		t.Skip("managers and a control plane take seconds")
	}
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("seed %d: `make test-fault SEED=%d` does the same things in the same order; when each meets the managers is up to the machine", *seed, *seed)
	if !*full {
		t.Log("this is the short run; `make test-fault` kills the leader 50 times")
	}
	h := newEnvironment(t)
	began, count := time.Now(), map[fault]int{}
	for _, f := range schedule(h.random) {
		if time.Since(began) > faultPeriod && f != killAndRelease {
			continue // kills are what was promised
		}
		h.inject(t, f)
		h.awaitSettled(t, f)
		count[f]++
	}
	for f, n := range count {
		t.Logf("%2d x %s", n, f)
	}
	h.checkMails(t)
	for deadline := time.Now().Add(settleTimeout); h.recorder.isBehind(t.Context()); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %s, the recorder has not seen all that was written", settleTimeout)
		}
	}
	looked, again := h.recorder.checkSecrets(), h.recorder.checkExports()
	h.report(t)
	writes, hidden, gaps := h.recorder.counts()
	t.Logf("saw %d writes, and compared Secret and status at %d instants; %d versions are hidden in %d gaps", writes, looked, hidden, gaps)
	t.Logf("KeyExports held %d credentials again that were switched off meanwhile", again)
	done, failed := h.load.total()
	t.Logf("the load ran %d actions, of which %d failed; managers were started %d and %d times",
		done, failed, h.replicas[0].startCount(), h.replicas[1].startCount())
}

// environment holds all running parts of the test.
type environment struct {
	plane    *controlplane.ControlPlane
	admin    client.Client
	random   *rand.Rand
	mailbox  *mailbox.Server
	replicas []*replica
	load     *load
	recorder *recorder

	mu sync.Mutex
	// unsettledMails counts, by key, the mails that were being sent when a manager ended.
	unsettledMails map[string]int
	pending        sync.WaitGroup
}

func newEnvironment(t *testing.T) *environment {
	t.Helper()
	plane := controlplanetest.Start(t, controlplane.Options{})
	binary, err := controlplane.BuildManager(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h := &environment{plane: plane, random: rand.New(rand.NewPCG(*seed, 0)), unsettledMails: map[string]int{}}
	c := controlplanetest.Connect(t, plane.Config())
	h.admin, h.load, h.recorder = c, newLoad(c, *seed), newRecorder(c, limits)
	if err := h.load.createObjects(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.startReplicas(t, binary)
	h.startLoad(t)
	return h
}

// startReplicas starts two managers and a mail server that delays each mail.
func (h *environment) startReplicas(t *testing.T, binary string) {
	t.Helper()
	var err error
	if h.mailbox, err = mailbox.Start(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.mailbox.Close() })
	const moment = 300 * time.Millisecond
	smtp := startProxy(t, fmt.Sprintf("127.0.0.1:%d", h.mailbox.Port()), moment)
	_, port, _ := strings.Cut(smtp.address, ":")
	for _, name := range []string{"manager-a", "manager-b"} {
		r := newReplica(t, h.plane, name, binary, "--smtp-host=127.0.0.1", "--smtp-port="+port, "--smtp-tls=none", "--smtp-from=keys@example.com")
		r.onExit = h.recordUnsettledMails
		h.replicas = append(h.replicas, r)
	}
}

// startLoad starts the recorder, the managers and the load, which run until the test ends.
func (h *environment) startLoad(t *testing.T) {
	t.Helper()
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	all.Go(func() { h.recorder.run(t.Context()) })
	for _, r := range h.replicas {
		all.Go(func() { r.run(t.Context()) })
	}
	h.awaitSettled(t, "start")
	all.Go(func() { h.load.run(t.Context()) })
}

// recordUnsettledMails records the mails that were being sent when a manager ended. They may arrive twice.
func (h *environment) recordUnsettledMails(at time.Time) {
	h.pending.Go(func() {
		const pause = 50 * time.Millisecond
		for deadline := time.Now().Add(electionTimeout); time.Now().Before(deadline); time.Sleep(pause) {
			var list v1alpha1.APIKeyList
			if h.admin.List(context.Background(), &list, client.InNamespace(home)) != nil {
				continue // the API server is down
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, k := range list.Items {
				for _, n := range k.Status.Notifications {
					if n.Reason == v1alpha1.ReasonSending && n.LastAttemptTime != nil && !n.LastAttemptTime.After(at) {
						h.unsettledMails[k.Name]++
					}
				}
			}
			return
		}
	})
}

func (h *environment) unsettledCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.unsettledMails)
}

// inject waits for a random time and then injects a fault.
func (h *environment) inject(t *testing.T, f fault) {
	t.Helper()
	h.sleepRandomly(200, 1800)
	leader := h.leader(t)
	switch f {
	case killAndRelease, killAndWait:
		leader.kill()
		if f == killAndRelease {
			h.releaseLease(t)
		}
	case pauseLeader:
		resume := leader.pause()
		h.sleepRandomly(200, 1000)
		h.releaseLease(t)
		h.leader(t)
		h.sleepRandomly(500, 2000)
		resume()
		h.sleepRandomly(500, 2000)
	case cutLeader:
		h.cutConnections(t, leader)
	case dropAll:
		for range 5 {
			h.sleepRandomly(50, 400)
			for _, r := range h.replicas {
				r.proxy.drop()
			}
		}
	case stopServer:
		h.must(t, h.plane.StopAPIServer())
		h.sleepRandomly(200, 2000)
		h.must(t, h.plane.StartAPIServer(t.Context()))
	case stopEtcd:
		h.must(t, h.plane.StopEtcd())
		h.sleepRandomly(200, 4000)
		h.must(t, h.plane.StartEtcd())
		h.must(t, h.plane.AwaitReady(t.Context()))
	}
	h.leader(t)
}

// cutConnections blocks the leader's connections to the API server until another manager leads.
func (h *environment) cutConnections(t *testing.T, leader *replica) {
	t.Helper()
	process := leader.running()
	leader.proxy.cut()
	select {
	case <-process.Done():
	case <-time.After(electionTimeout):
		t.Errorf("after %s without the API server, the leader still believes that it leads", electionTimeout)
	}
	h.leader(t)
	h.sleepRandomly(200, 1000)
	h.must(t, leader.proxy.open())
}

func (h *environment) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sleepRandomly waits for a random time between two numbers of milliseconds.
func (h *environment) sleepRandomly(least, most int) {
	time.Sleep(time.Duration(least+h.random.IntN(most-least)) * time.Millisecond)
}

// leader waits until a manager leads, and returns it. If two managers assume that they lead, it returns either.
func (h *environment) leader(t *testing.T) *replica {
	t.Helper()
	const pause = 50 * time.Millisecond
	for deadline := time.Now().Add(electionTimeout); time.Now().Before(deadline); time.Sleep(pause) {
		for _, r := range h.replicas {
			if r.leads(t.Context()) {
				return r
			}
		}
	}
	h.report(t)
	t.Fatalf("after %s, no manager leads", electionTimeout)
	return nil
}

// releaseLease clears the holder of the lease, as a leader does on a normal exit. Without it, the next leader would have to
// wait for the 15 seconds of the lease.
func (h *environment) releaseLease(t *testing.T) {
	t.Helper()
	for {
		var lease coordinationv1.Lease
		h.must(t, h.admin.Get(t.Context(), client.ObjectKey{Namespace: h.plane.Namespace(), Name: "apikey-manager"}, &lease))
		lease.Spec.HolderIdentity = new("")
		err := h.admin.Update(t.Context(), &lease)
		if !apierrors.IsConflict(err) {
			h.must(t, err)
			return
		}
	}
}

// awaitSettled pauses the load, and waits until everything is in its wanted state.
func (h *environment) awaitSettled(t *testing.T, after fault) {
	t.Helper()
	h.load.pause.Lock()
	defer h.load.pause.Unlock()
	began := time.Now()
	for {
		wrong := h.load.findProblems(t.Context())
		if len(wrong) == 0 {
			break
		}
		if time.Since(began) > settleTimeout {
			h.report(t)
			t.Fatalf("%s: not settled after %s:\n%s", after, settleTimeout, strings.Join(wrong, "\n"))
		}
		time.Sleep(100 * time.Millisecond)
	}
	if found := h.recorder.foundProblems(); len(found) > 0 {
		h.report(t)
		t.FailNow()
	}
	if *full {
		t.Logf("settled in %s: %s", time.Since(began).Round(10*time.Millisecond), after)
	}
}

// checkMails checks that all mails have arrived, and none twice unless a manager ended while it was being sent.
func (h *environment) checkMails(t *testing.T) {
	t.Helper()
	h.load.pause.Lock()
	defer h.load.pause.Unlock()
	unsent := h.unsentMails(t)
	for deadline := time.Now().Add(mailTimeout); len(unsent) > 0 && time.Now().Before(deadline); time.Sleep(time.Second) {
		if unsent = h.unsentMails(t); !*full && len(unsent) <= h.unsettledCount() {
			break // what was claimed by a dead leader is tried again in two minutes
		}
	}
	h.pending.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	arrived, twice := map[string]int{}, 0
	for _, m := range h.mailbox.Mails() {
		arrived[m.MessageID]++
		name, _, _ := strings.Cut(m.To, "@")
		if arrived[m.MessageID] > 1 {
			twice++
		}
		if arrived[m.MessageID] > 1+h.unsettledMails[name] {
			t.Errorf("the mail about %s arrived %d times, and a leader ended while it was being sent %d times", name, arrived[m.MessageID], h.unsettledMails[name])
		}
	}
	if *full && len(unsent) > 0 {
		t.Errorf("no mail was sent about %s", strings.Join(unsent, ", "))
	}
	t.Logf("%d mails arrived, %d of them again; leaders ended while %d were being sent; %d are still to be sent", len(arrived), twice, len(h.unsettledMails), len(unsent))
}

// unsentMails returns the keys whose mail is not reported as sent.
func (h *environment) unsentMails(t *testing.T) []string {
	t.Helper()
	var list v1alpha1.APIKeyList
	h.must(t, h.admin.List(t.Context(), &list, client.InNamespace(home)))
	var names []string
	for _, k := range list.Items {
		if !strings.HasPrefix(k.Name, mailed) {
			continue
		}
		if n := k.Status.Notifications; len(n) != 1 || n[0].State != v1alpha1.NotificationSent {
			names = append(names, k.Name)
		}
	}
	return names
}

// report reports the problems found so far.
func (h *environment) report(t *testing.T) {
	t.Helper()
	for _, problem := range h.recorder.foundProblems() {
		t.Error(problem)
	}
	if t.Failed() {
		for _, r := range h.replicas {
			t.Logf("the end of the log of %s:\n%s", r.name, controlplane.Tail(r.log, 3000))
		}
	}
}
