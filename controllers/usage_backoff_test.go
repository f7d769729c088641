// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/usage"
)

// run runs the loop that polls for uses, and writes what it enqueues, in virtual time until the test ends.
func (u *usageFixture) run(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	go u.poller.pollUsage(ctx)
	go func() {
		for {
			select {
			case e := <-u.poller.enqueueCh:
				if _, err := u.Reconcile(ctx, u.w.key(e.Object.GetName())); err != nil {
					t.Error(err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
}

// pollsIn returns how often each of the two verifiers is polled in some minutes from now.
func (u *usageFixture) pollsIn(minutes int) int {
	before := u.f.requestCount()
	time.Sleep(time.Duration(minutes) * time.Minute)
	synctest.Wait()
	return (u.f.requestCount() - before) / 2
}

func (f *fakeVerifiers) requestCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

func (f *fakeVerifiers) setReport(address string, r usage.Report, responds bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.reports, address)
	if responds {
		f.reports[address] = r
	}
}

func TestUsage_PollsLessOftenWhileNothingHappens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := newUsage(t, keystest.Key("web"))
		u.run(t)
		if n := u.pollsIn(62); n != 14 { // in minutes 0, 2, 6, and then every five minutes
			t.Errorf("polled %d times in an hour without uses", n)
		}
	})
}

func TestUsage_PollsEachMinuteWhileSomethingHappens(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]func(u *usageFixture){
		"a key is created": func(u *usageFixture) {
			u.keyHandler().Create(u.w.t.Context(), event.CreateEvent{Object: u.w.key("web")}, nil)
		},
		"a key changes": func(u *usageFixture) {
			u.keyHandler().Update(u.w.t.Context(), event.UpdateEvent{ObjectOld: u.w.key("web"), ObjectNew: u.w.key("web")}, nil)
		},
		"a verifier starts": func(u *usageFixture) { u.endpointSliceHandler().Create(u.w.t.Context(), event.CreateEvent{}, nil) },
		"a verifier stops":  func(u *usageFixture) { u.endpointSliceHandler().Update(u.w.t.Context(), event.UpdateEvent{}, nil) },
		"the last one stops": func(u *usageFixture) {
			u.endpointSliceHandler().Delete(u.w.t.Context(), event.DeleteEvent{}, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				u := newUsage(t, keystest.Key("web"))
				u.run(t)
				u.pollsIn(62)
				for minute := range 10 {
					happens(u)
					if n := u.pollsIn(1); n != 1 {
						t.Errorf("polled %d times in minute %d", n, minute)
					}
				}
				if n := u.pollsIn(60); n != 12 {
					t.Errorf("then polled %d times in an hour", n)
				}
			})
		})
	}
}

func TestUsage_PollsEachMinuteWhileKeysAreUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := newUsage(t, keystest.Key("web"))
		u.run(t)
		u.pollsIn(62)
		u.use("10.0.0.1:8443", "web", at(0))
		if n := u.pollsIn(5); n < 1 || !u.lastUsed("web").Equal(at(0)) {
			t.Errorf("within five minutes: polled %d times, last used %s", n, u.lastUsed("web"))
		}
		if n := u.pollsIn(10); n != 10 {
			t.Errorf("polled %d times in ten minutes", n)
		}
		u.f.setReport("10.0.0.1:8443", usage.Report{}, false)
		if n := u.pollsIn(10); n != 10 {
			t.Errorf("polled %d times in ten minutes, although a verifier does not respond", n)
		}
		u.f.setReport("10.0.0.1:8443", usage.Report{Synced: true}, true)
		if n := u.pollsIn(60); n != 13 {
			t.Errorf("then polled %d times in an hour", n)
		}
	})
}

func TestUsage_PollsEachMinuteUntilUsesAreWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := newUsage(t, keystest.Key("web"))
		u.use("10.0.0.1:8443", "web", at(0))
		u.poll()
		u.w.clock.SetTime(at(time.Minute))
		u.f.setReport("10.0.0.1:8443", usage.Report{Synced: true}, true)
		u.use("10.0.0.1:8443", "web", at(time.Minute))
		u.poll() // not written before the fifth minute
		u.f.setReport("10.0.0.1:8443", usage.Report{Synced: true}, true)
		u.run(t)
		if n := u.pollsIn(10); n != 11 { // the first one at once
			t.Errorf("polled %d times in ten minutes", n)
		}
		u.w.clock.SetTime(at(10 * time.Minute))
		u.pollsIn(1)
		if !u.lastUsed("web").Equal(at(time.Minute)) {
			t.Errorf("last used %s", u.lastUsed("web"))
		}
		if n := u.pollsIn(60); n > 14 {
			t.Errorf("then polled %d times in an hour", n)
		}
	})
}
