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
	seed = flag.Uint64("seed", 0, "the order of faults and the choices of people, as a run before printed it; 0 is a new one")
)

// How long things may take before they are faults themselves.
const (
	striking = 7*time.Minute + 15*time.Second // all faults of a full run; the rest of ten minutes is for mails to be tried again
	settling = time.Minute
	electing = 45 * time.Second
	mailing  = 140 * time.Second // longer than the life of a claim
)

// fault is something that happens to the managers or to what they depend on.
type fault string

const (
	killAndWait fault = "kill the leader, and let its lease run out"
	killAndTake fault = "kill the leader, and give its lease up"
	pauseLeader fault = "pause the leader, give its lease up, and let two lead"
	cutLeader   fault = "refuse the leader's connections to the API server"
	dropAll     fault = "drop all connections to the API server"
	stopServer  fault = "stop and start the API server"
	stopEtcd    fault = "stop and start etcd"
)

// schedule is what a run does, in an order that the seed gives.
func schedule(random *rand.Rand) []fault {
	times := map[fault]int{killAndTake: 2, dropAll: 1, stopServer: 1}
	if *full {
		times = map[fault]int{killAndTake: 47, killAndWait: 3, pauseLeader: 4, cutLeader: 2, dropAll: 5, stopServer: 2, stopEtcd: 2}
	}
	var list []fault
	for _, f := range []fault{killAndTake, killAndWait, pauseLeader, cutLeader, dropAll, stopServer, stopEtcd} {
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
	h := open(t)
	began, count := time.Now(), map[fault]int{}
	for _, f := range schedule(h.random) {
		if time.Since(began) > striking && f != killAndTake {
			continue // kills are what was promised
		}
		h.strike(t, f)
		h.settle(t, f)
		count[f]++
	}
	for f, n := range count {
		t.Logf("%2d x %s", n, f)
	}
	h.mails(t)
	for deadline := time.Now().Add(settling); h.recorder.behind(t.Context()); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %s, the recorder has not seen all that was written", settling)
		}
	}
	looked := h.recorder.refused()
	h.report(t)
	writes, hidden, gaps := h.recorder.seen()
	t.Logf("saw %d writes, and compared Secret and status at %d instants; %d versions are hidden in %d gaps", writes, looked, hidden, gaps)
	done, failed := h.load.total()
	t.Logf("people did %d things, of which %d failed with the API server; managers were started %d and %d times",
		done, failed, h.replicas[0].started(), h.replicas[1].started())
}

// house is everything that runs.
type house struct {
	plane    *controlplane.ControlPlane
	admin    client.Client
	random   *rand.Rand
	mailbox  *mailbox.Server
	replicas []*replica
	load     *load
	recorder *recorder

	mu sync.Mutex
	// excused are the keys whose mail was claimed and not settled when a manager ended, and how often.
	excused map[string]int
	asking  sync.WaitGroup
}

func open(t *testing.T) *house {
	t.Helper()
	plane := controlplanetest.Start(t, controlplane.Options{})
	binary, err := controlplane.BuildManager(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h := &house{plane: plane, random: rand.New(rand.NewPCG(*seed, 0)), excused: map[string]int{}}
	c := controlplanetest.Connect(t, plane.Config())
	h.admin, h.load, h.recorder = c, newLoad(c, *seed), newRecorder(c, limits)
	if err := h.load.furnish(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.hire(t, binary)
	h.begin(t)
	return h
}

// hire gets two managers and a mail server that takes a moment for each mail.
func (h *house) hire(t *testing.T, binary string) {
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
		r.ended = h.excuse
		h.replicas = append(h.replicas, r)
	}
}

// begin lets everybody work, until the test ends.
func (h *house) begin(t *testing.T) {
	t.Helper()
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	all.Go(func() { h.recorder.run(t.Context()) })
	for _, r := range h.replicas {
		all.Go(func() { r.run(t.Context()) })
	}
	h.settle(t, "start")
	all.Go(func() { h.load.run(t.Context()) })
}

// excuse notes the mails that were being sent when a manager ended: they may arrive twice.
func (h *house) excuse(at time.Time) {
	h.asking.Go(func() {
		const pause = 50 * time.Millisecond
		for deadline := time.Now().Add(electing); time.Now().Before(deadline); time.Sleep(pause) {
			var list v1alpha1.APIKeyList
			if h.admin.List(context.Background(), &list, client.InNamespace(home)) != nil {
				continue // the API server is down
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, k := range list.Items {
				for _, n := range k.Status.Notifications {
					if n.Reason == v1alpha1.ReasonSending && n.LastAttemptTime != nil && !n.LastAttemptTime.After(at) {
						h.excused[k.Name]++
					}
				}
			}
			return
		}
	})
}

func (h *house) excuses() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.excused)
}

// strike lets people work for a moment, and then the fault happen.
func (h *house) strike(t *testing.T, f fault) {
	t.Helper()
	h.awhile(200, 1800)
	leader := h.leader(t)
	switch f {
	case killAndTake, killAndWait:
		leader.kill()
		if f == killAndTake {
			h.giveUpLease(t)
		}
	case pauseLeader:
		resume := leader.pause()
		h.awhile(200, 1000)
		h.giveUpLease(t)
		h.leader(t)
		h.awhile(500, 2000)
		resume()
		h.awhile(500, 2000)
	case cutLeader:
		h.cut(t, leader)
	case dropAll:
		for range 5 {
			h.awhile(50, 400)
			for _, r := range h.replicas {
				r.wire.drop()
			}
		}
	case stopServer:
		h.must(t, h.plane.StopAPIServer())
		h.awhile(200, 2000)
		h.must(t, h.plane.StartAPIServer(t.Context()))
	case stopEtcd:
		h.must(t, h.plane.StopEtcd())
		h.awhile(200, 4000)
		h.must(t, h.plane.StartEtcd())
		h.must(t, h.plane.AwaitReady(t.Context()))
	}
	h.leader(t)
}

// cut keeps the leader from the API server until another leads.
func (h *house) cut(t *testing.T, leader *replica) {
	t.Helper()
	process := leader.running()
	leader.wire.cut()
	select {
	case <-process.Done():
	case <-time.After(electing):
		t.Errorf("after %s without the API server, the leader still believes that it leads", electing)
	}
	h.leader(t)
	h.awhile(200, 1000)
	h.must(t, leader.wire.mend())
}

func (h *house) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// awhile waits for a time between two numbers of milliseconds.
func (h *house) awhile(least, most int) {
	time.Sleep(time.Duration(least+h.random.IntN(most-least)) * time.Millisecond)
}

// leader waits until one leads. If two believe that they do, it is either.
func (h *house) leader(t *testing.T) *replica {
	t.Helper()
	const pause = 50 * time.Millisecond
	for deadline := time.Now().Add(electing); time.Now().Before(deadline); time.Sleep(pause) {
		for _, r := range h.replicas {
			if r.leads(t.Context()) {
				return r
			}
		}
	}
	h.report(t)
	t.Fatalf("after %s, nobody leads", electing)
	return nil
}

// giveUpLease says that nobody leads, as a leader does that ends in peace. Without it, each death would cost the 15
// seconds that the lease lasts.
func (h *house) giveUpLease(t *testing.T) {
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

// settle stops people, and waits until all is as it should be.
func (h *house) settle(t *testing.T, after fault) {
	t.Helper()
	h.load.gate.Lock()
	defer h.load.gate.Unlock()
	began := time.Now()
	for {
		wrong := h.load.look(t.Context())
		if len(wrong) == 0 {
			break
		}
		if time.Since(began) > settling {
			h.report(t)
			t.Fatalf("%s: not settled after %s:\n%s", after, settling, strings.Join(wrong, "\n"))
		}
		time.Sleep(100 * time.Millisecond)
	}
	if found := h.recorder.found(); len(found) > 0 {
		h.report(t)
		t.FailNow()
	}
	if *full {
		t.Logf("settled in %s: %s", time.Since(began).Round(10*time.Millisecond), after)
	}
}

// mails looks whether everybody was told, and nobody twice without a reason.
func (h *house) mails(t *testing.T) {
	t.Helper()
	h.load.gate.Lock()
	defer h.load.gate.Unlock()
	untold := h.untold(t)
	for deadline := time.Now().Add(mailing); len(untold) > 0 && time.Now().Before(deadline); time.Sleep(time.Second) {
		if untold = h.untold(t); !*full && len(untold) <= h.excuses() {
			break // what was claimed by a dead leader is tried again in two minutes
		}
	}
	h.asking.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	arrived, twice := map[string]int{}, 0
	for _, m := range h.mailbox.Mails() {
		arrived[m.MessageID]++
		name, _, _ := strings.Cut(m.To, "@")
		if arrived[m.MessageID] > 1 {
			twice++
		}
		if arrived[m.MessageID] > 1+h.excused[name] {
			t.Errorf("the mail about %s arrived %d times, and a leader died between its claim and its end %d times", name, arrived[m.MessageID], h.excused[name])
		}
	}
	if *full && len(untold) > 0 {
		t.Errorf("nobody was told of %s", strings.Join(untold, ", "))
	}
	t.Logf("%d mails arrived, %d of them again; leaders died while %d were being sent; %d are still to be sent", len(arrived), twice, len(h.excused), len(untold))
}

// untold are the keys of which nobody is known to have been told.
func (h *house) untold(t *testing.T) []string {
	t.Helper()
	var list v1alpha1.APIKeyList
	h.must(t, h.admin.List(t.Context(), &list, client.InNamespace(home)))
	var names []string
	for _, k := range list.Items {
		if !strings.HasPrefix(k.Name, told) {
			continue
		}
		if n := k.Status.Notifications; len(n) != 1 || n[0].State != v1alpha1.NotificationSent {
			names = append(names, k.Name)
		}
	}
	return names
}

// report says what was seen to be wrong.
func (h *house) report(t *testing.T) {
	t.Helper()
	for _, problem := range h.recorder.found() {
		t.Error(problem)
	}
	if t.Failed() {
		for _, r := range h.replicas {
			t.Logf("the end of the log of %s:\n%s", r.name, controlplane.Tail(r.log, 3000))
		}
	}
}
