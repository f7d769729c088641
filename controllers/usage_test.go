// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/usage"
)

// usageFixture holds a UsageReconciler whose loops a test runs step by step.
type usageFixture struct {
	*UsageReconciler
	w     *fixture
	f     *fakeVerifiers
	since map[string]time.Time
}

// newUsage returns a fixture with settled keys and two verifiers.
func newUsage(t *testing.T, list ...client.Object) *usageFixture {
	t.Helper()
	w := newFixture(t, append(list, keystest.NewAccount("acme"), slice("a", "10.0.0.1", "10.0.0.2"))...)
	w.settle()
	w.writes = nil
	f := &fakeVerifiers{reports: map[string]usage.Report{"10.0.0.1:8443": {Synced: true}, "10.0.0.2:8443": {Synced: true}}}
	return &usageFixture{UsageReconciler: newUsageReconciler(w.cached(), w.clock, f.verifiers()), w: w, f: f, since: map[string]time.Time{}}
}

// use reports a use of a key's current credential at a verifier.
func (u *usageFixture) use(address, key string, last time.Time) {
	u.w.t.Helper()
	k := u.w.key(key)
	report := u.f.reports[address]
	report.Keys = append(report.Keys, usage.KeyUsage{
		Namespace: k.Namespace, Name: k.Name, UID: string(k.UID),
		Credentials: []usage.CredentialUsage{{ID: k.Status.KeyID, LastUsed: &last}},
	})
	u.f.reports[address] = report
}

// poll polls for the uses of keys, and writes those that are due. It returns the names of the keys.
func (u *usageFixture) poll() []string {
	u.w.t.Helper()
	due, _, err := u.poller.pollUsageOnce(u.w.t.Context(), u.since)
	u.w.must(err)
	return u.reconcile(due)
}

func (u *usageFixture) reconcile(due []types.NamespacedName) []string {
	u.w.t.Helper()
	var names []string
	for _, name := range due {
		result, err := reconcile.AsReconciler(u.Client, u).Reconcile(u.w.t.Context(), reconcile.Request{NamespacedName: name})
		u.w.must(err)
		if result != (reconcile.Result{}) {
			u.w.t.Errorf("key %s: requeue after %s", name, result.RequeueAfter)
		}
		names = append(names, name.Name)
	}
	u.w.checkStatuses()
	slices.Sort(names)
	return names
}

func (u *usageFixture) lastUsed(key string) time.Time {
	u.w.t.Helper()
	if t := u.w.key(key).Status.LastUsedTime; t != nil {
		return t.UTC()
	}
	return time.Time{}
}

func TestUsage_WritesLastUsedTime(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"), keystest.Key("idle"))
	u.use("10.0.0.1:8443", "web", at(2*time.Minute))
	u.use("10.0.0.2:8443", "web", at(3*time.Minute))
	u.w.clock.SetTime(at(4*time.Minute + time.Second))
	before := u.w.key("web")
	u.poll()
	if diff := cmp.Diff([]string{"update status of APIKey web"}, u.w.writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	after := u.w.key("web")
	if got := u.lastUsed("web"); !got.Equal(at(3 * time.Minute)) {
		t.Errorf("last used %s", got)
	}
	if c := after.Status.Credentials[0]; c.LastUsedTime == nil || !c.LastUsedTime.Time.Equal(at(3*time.Minute)) {
		t.Errorf("credential %+v", c)
	}
	after.Status.LastUsedTime, after.Status.Credentials[0].LastUsedTime = nil, nil
	if diff := cmp.Diff(before.Status, after.Status); diff != "" {
		t.Errorf("more than the times of use was written (-want +got):\n%s", diff)
	}
	if want := [2]int{2, 2}; u.f.recorder.replicas != want {
		t.Errorf("measured %v replicas", u.f.recorder.replicas)
	}
	u.w.settle()
	if got := u.lastUsed("web"); !got.Equal(at(3 * time.Minute)) {
		t.Errorf("after a reconciliation of the key it was last used %s", got)
	}
}

func TestUsage_IgnoresClockChangeDuringRequest(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	u.use("10.0.0.1:8443", "web", at(2*time.Minute))
	u.w.clock.SetTime(at(4 * time.Minute))
	u.f.sentAt = at(4 * time.Minute)
	u.f.beforeResponse = func(address string) {
		if address == "10.0.0.1:8443" {
			u.w.clock.SetTime(at(10 * time.Minute))
		}
	}
	u.poll()
	if got := u.lastUsed("web"); !got.Equal(at(2 * time.Minute)) {
		t.Errorf("last used %s", got)
	}
}

func TestUsage_WritesAtMostEveryFiveMinutes(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	for m := range 60 {
		now := at(time.Duration(m) * time.Minute)
		u.w.clock.SetTime(now)
		u.f.reports["10.0.0.1:8443"] = usage.Report{Synced: true}
		u.use("10.0.0.1:8443", "web", now)
		u.poll()
	}
	if len(u.w.writes) != 12 {
		t.Errorf("%d writes in an hour of steady use: %q", len(u.w.writes), u.w.writes)
	}
}

func TestUsage_NewLeaderKeepsWriteInterval(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	next := &usageFixture{UsageReconciler: newUsageReconciler(u.w.cached(), u.w.clock, u.f.verifiers()), w: u.w, f: u.f, since: map[string]time.Time{}}
	u.w.clock.SetTime(at(time.Hour))
	u.use("10.0.0.1:8443", "web", at(time.Hour))
	u.poll()
	u.w.clock.SetTime(at(time.Hour + time.Minute))
	u.use("10.0.0.1:8443", "web", at(time.Hour+time.Minute))
	next.usage.reset()
	if names := next.poll(); len(names) > 0 {
		t.Errorf("wrote %v again after a minute", names)
	}
	u.w.clock.SetTime(at(time.Hour + 6*time.Minute))
	if next.poll(); !u.lastUsed("web").Equal(at(time.Hour + time.Minute)) {
		t.Errorf("last used %s", u.lastUsed("web"))
	}
}

func TestUsage_PollsSinceLastResponseByReplicaClock(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	u.f.sentAt = at(-time.Hour)
	u.poll()
	if got := u.f.requests["10.0.0.1:8443"].Since; !got.IsZero() {
		t.Errorf("first polled since %s, want all uses", got)
	}
	delete(u.f.reports, "10.0.0.2:8443")
	u.f.sentAt = at(-time.Hour + time.Minute)
	u.poll()
	for _, address := range []string{"10.0.0.1:8443", "10.0.0.2:8443"} {
		if got, want := u.f.requests[address].Since, at(-time.Hour-2*time.Minute); !got.Equal(want) {
			t.Errorf("then %s was polled since %s, want %s", address, got, want)
		}
	}
	u.poll()
	if got, want := u.f.requests["10.0.0.1:8443"].Since, at(-time.Hour-time.Minute); !got.Equal(want) {
		t.Errorf("a replica that responded is polled since %s, want %s", got, want)
	}
	if got, want := u.f.requests["10.0.0.2:8443"].Since, at(-time.Hour-2*time.Minute); !got.Equal(want) {
		t.Errorf("a replica that did not respond is polled since %s, want %s", got, want)
	}
}

func TestUsage_NeverMovesBackAndIgnoresReplacedKeys(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	u.w.clock.SetTime(at(3 * time.Minute))
	u.use("10.0.0.1:8443", "web", at(2*time.Minute))
	u.poll()
	u.f.reports = map[string]usage.Report{"10.0.0.2:8443": {Synced: true}} // one has terminated
	u.use("10.0.0.2:8443", "web", at(time.Minute))                         // the other reports an earlier use
	u.w.clock.SetTime(at(time.Hour))
	u.poll()
	if got := u.lastUsed("web"); !got.Equal(at(2 * time.Minute)) {
		t.Errorf("last used %s", got)
	}
	u.w.must(u.w.client.Delete(t.Context(), u.w.key("web")))
	u.w.must(client.IgnoreNotFound(u.w.client.Delete(t.Context(), u.w.secret("web"))))
	u.w.add(keystest.Key("web", keystest.UID("uid-again")))
	u.w.settle()
	if names := u.poll(); len(names) > 0 || !u.lastUsed("web").IsZero() || len(u.usage.keys()) > 0 {
		t.Errorf("wrote %v; the new key was last used %s", names, u.lastUsed("web"))
	}
}

func TestUsage_RetriesConflictWithoutLoss(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	u.use("10.0.0.1:8443", "web", at(0))
	due, _, err := u.poller.pollUsageOnce(t.Context(), u.since)
	u.w.must(err)
	stale := u.w.key("web")
	u.w.change("web", keystest.Label("new"))
	result, err := u.Reconcile(t.Context(), stale)
	if err != nil || result.RequeueAfter != staleRequeueAfter || !u.lastUsed("web").IsZero() {
		t.Errorf("got %+v, %v; want a requeue after %s", result, err, staleRequeueAfter)
	}
	u.reconcile(due)
	if k := u.w.key("web"); k.Spec.Label != "new" || !u.lastUsed("web").Equal(at(0)) {
		t.Errorf("label %q, last used %s", k.Spec.Label, u.lastUsed("web"))
	}
}

func TestUsage_RetriesFailedWrite(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	u.use("10.0.0.1:8443", "web", at(0))
	due, _, err := u.poller.pollUsageOnce(t.Context(), u.since)
	u.w.must(err)
	u.w.fault = func(int) fault { return faultBefore }
	if _, err := u.Reconcile(t.Context(), u.w.key("web")); err == nil {
		t.Error("no error")
	}
	u.w.fault = func(int) fault { return faultNone }
	u.reconcile(due)
	if !u.lastUsed("web").Equal(at(0)) {
		t.Errorf("last used %s", u.lastUsed("web"))
	}
}

func TestUsage_RotationKeepsUses(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web", keystest.Rotation("", "1h")))
	u.use("10.0.0.1:8443", "web", at(0))
	u.poll()
	u.w.clock.SetTime(at(time.Minute))
	u.w.change("web", keystest.Requested(at(time.Minute)))
	u.w.settle()
	k := u.w.key("web")
	if len(k.Status.Credentials) != 2 || k.Status.LastUsedTime == nil {
		t.Fatalf("status %+v", k.Status)
	}
	for _, c := range k.Status.Credentials {
		if used := c.LastUsedTime != nil; used != (c.Role == v1alpha1.RolePrevious) {
			t.Errorf("the %s credential was last used %v", c.Role, c.LastUsedTime)
		}
	}
	u.w.clock.SetTime(at(2 * time.Hour))
	u.w.settle()
	if k := u.w.key("web"); len(k.Status.Credentials) != 1 || !k.Status.LastUsedTime.Time.Equal(at(0)) {
		t.Errorf("after the overlap: %+v", k.Status)
	}
}
