// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/usage"
)

// change changes a key as a user does, reconciles it, and calls the handlers for each update, as a watch does.
func (u *usageFixture) change(name string, change func(*v1alpha1.APIKey)) *v1alpha1.APIKey {
	u.w.t.Helper()
	before := u.w.key(name)
	u.w.change(name, change)
	requested := u.w.key(name)
	u.notify(before, requested)
	return u.reconcileKey(name)
}

func (u *usageFixture) reconcileKey(name string) *v1alpha1.APIKey {
	u.w.t.Helper()
	requested := u.w.key(name)
	r := u.w.keys()
	r.Settings.Verifiers = true
	_, err := r.Reconcile(u.w.t.Context(), u.w.key(name))
	u.w.must(err)
	u.notify(requested, u.w.key(name))
	return u.w.key(name)
}

func (u *usageFixture) notify(was, is *v1alpha1.APIKey) {
	u.keyHandler().Update(u.w.t.Context(), event.UpdateEvent{ObjectOld: was, ObjectNew: is}, nil)
}

// setVersions sets the version that each verifier has observed. A verifier with an empty version does not respond.
func (u *usageFixture) setVersions(first, second string) {
	u.f.reports = map[string]usage.Report{}
	for address, version := range map[string]string{"10.0.0.1:8443": first, "10.0.0.2:8443": second} {
		if version != "" {
			u.f.reports[address] = usage.Report{Synced: true, KeysVersion: version}
		}
	}
}

// pollAndReport polls the verifiers once and writes the result to the status.
func (u *usageFixture) pollAndReport(name string) (enforced string, inProgress bool) {
	u.w.t.Helper()
	changed, inProgress, err := u.poller.pollPropagationOnce(u.w.t.Context())
	u.w.must(err)
	before := u.w.key(name)
	u.reconcile(changed)
	u.notify(before, u.w.key(name))
	c := meta.FindStatusCondition(u.w.key(name).Status.Conditions, v1alpha1.ConditionEnforced)
	if c == nil {
		return "", inProgress
	}
	return string(c.Status) + "/" + c.Reason, inProgress
}

func (u *usageFixture) expect(what, name, want string, inProgress bool) {
	u.w.t.Helper()
	if got, more := u.pollAndReport(name); got != want || more != inProgress {
		u.w.t.Errorf("%s: Enforced is %q and in progress %t, want %q and %t", what, got, more, want, inProgress)
	}
}

var (
	inactive = keystest.State(v1alpha1.KeyStateInactive)
	active   = keystest.State(v1alpha1.KeyStateActive)
)

func TestPropagation_EnforcedOnceAllReplicasKnow(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	u.expect("in use", "web", "", false)
	old := u.w.key("web").ResourceVersion
	k := u.change("web", inactive)
	u.setVersions(old, old)
	u.expect("just after it was disabled", "web", "", true)
	u.w.clock.SetTime(at(time.Second))
	u.expect("a second after", "web", "False/Enforcing", true)
	writes := len(u.w.writes)
	u.expect("again", "web", "False/Enforcing", true)
	if len(u.w.writes) != writes {
		t.Errorf("wrote %q though nothing changed", u.w.writes[writes:])
	}
	u.setVersions(k.ResourceVersion, old)
	u.expect("one of two knows", "web", "False/Enforcing", true)
	u.setVersions(k.ResourceVersion, "")
	u.expect("the other can't be reached", "web", "False/Enforcing", true)
	u.w.clock.SetTime(at(2 * time.Second))
	u.setVersions(k.ResourceVersion, k.ResourceVersion)
	u.expect("both know", "web", "True/Enforced", false)
	if got := u.f.recorder.enforced; len(got) != 1 || got[0] != 2*time.Second {
		t.Errorf("measured %v, want two seconds, once", got)
	}
	u.setVersions(old, old)
	u.expect("no verifier is polled any more", "web", "True/Enforced", false)
	if len(u.propagation.waits) > 0 {
		t.Errorf("still tracks %v", u.propagation.waits)
	}
}

func TestPropagation_FastChangeCausesOneWrite(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	old := u.w.key("web").ResourceVersion
	k := u.change("web", inactive)
	u.w.writes = nil
	u.setVersions(old, k.ResourceVersion)
	u.expect("at once", "web", "", true)
	u.w.clock.SetTime(at(300 * time.Millisecond))
	u.setVersions(k.ResourceVersion, k.ResourceVersion)
	u.expect("soon after", "web", "True/Enforced", false)
	if len(u.w.writes) != 1 {
		t.Errorf("writes %q", u.w.writes)
	}
}

// A verifier that is reached only at times while another one lags causes few status writes.
func TestPropagation_LimitsReportsWhileInProgress(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	old := u.w.key("web").ResourceVersion
	u.change("web", inactive)
	s := slice("a")
	u.w.read(s)
	all := s.Endpoints
	u.w.writes = nil
	for i := range 60 {
		u.w.clock.SetTime(at(time.Second + time.Duration(i)*time.Second))
		u.setVersions(old, old)
		s.Endpoints = all[:2*(i%2)]
		u.w.must(u.w.client.Update(t.Context(), s))
		u.pollAndReport("web")
	}
	written := 0
	for _, w := range u.w.writes {
		if w == "update status of APIKey web" {
			written++
		}
	}
	if written < 2 || written > 3 {
		t.Errorf("%d writes in a minute: %q", written, u.w.writes)
	}
}

// Verifiers refuse a key by its spec alone: the measurement starts with the change of the spec, and does not include
// the time that the manager takes to write its own part of the status.
func TestPropagation_MeasuresFromSpecChange(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	before := u.w.key("web")
	u.w.change("web", inactive)
	k := u.w.key("web")
	u.notify(before, k)
	u.w.clock.SetTime(at(time.Second))
	u.setVersions(k.ResourceVersion, k.ResourceVersion)
	u.expect("the manager has not written its status yet", "web", "", false)
	if got := u.f.recorder.enforced; len(got) != 1 || got[0] != time.Second {
		t.Errorf("measured %v, want a second, once", got)
	}
	u.w.clock.SetTime(at(time.Minute))
	u.reconcileKey("web")
	u.expect("it has", "web", "True/Enforced", false)
	if got := u.f.recorder.enforced; len(got) != 1 {
		t.Errorf("measured %v", got)
	}
}

func TestPropagation_UnsyncedReplicaRefusesAllKeys(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	k := u.change("web", inactive)
	u.setVersions(k.ResourceVersion, "")
	u.f.reports["10.0.0.2:8443"] = usage.Report{Synced: false}
	u.expect("one is not synced", "web", "True/Enforced", false)
}

// After etcd was restored from a backup, a verifier that continues from its earlier state has a later version than a
// key that was disabled since, and accepts the key.
func TestPropagation_LaterVersionIsNoRefusal(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	k := u.change("web", inactive)
	u.setVersions(k.ResourceVersion, "999999")
	u.f.acceptsAll = map[string]bool{"10.0.0.2:8443": true}
	u.w.clock.SetTime(at(time.Second))
	u.expect("one accepts the key", "web", "False/Enforcing", true)
	if got := u.f.requests["10.0.0.2:8443"].Refused; len(got) != 1 || got[0].UID != k.UID || got[0].Name != "web" {
		t.Errorf("polled for %v", got)
	}
	u.f.acceptsAll = nil
	u.expect("both refuse it", "web", "True/Enforced", false)
}

func TestPropagation_FollowsLiveReplicas(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	k := u.change("web", inactive)
	u.w.clock.SetTime(at(time.Second))
	u.setVersions(k.ResourceVersion, "")
	u.expect("one can't be reached", "web", "False/Enforcing", true)
	s := slice("a")
	u.w.read(s)
	all := s.Endpoints
	s.Endpoints = nil
	u.w.must(u.w.client.Update(t.Context(), s))
	u.expect("none is left, a moment later", "web", "False/Enforcing", true)
	u.w.clock.SetTime(at(time.Minute))
	u.expect("none is left", "web", "Unknown/NoVerifier", false)
	s.Endpoints = all[:1]
	u.w.must(u.w.client.Update(t.Context(), s))
	u.expect("the one that knows is back alone", "web", "True/Enforced", false)
}

func TestPropagation_ActivationRemovesCondition(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	k := u.change("web", inactive)
	u.setVersions(k.ResourceVersion, k.ResourceVersion)
	u.expect("inactive", "web", "True/Enforced", false)
	u.change("web", active)
	u.expect("active", "web", "", false)
	again := u.change("web", inactive)
	u.w.clock.SetTime(at(time.Second))
	u.expect("inactive again, and they know of the first time", "web", "False/Enforcing", true)
	u.setVersions(again.ResourceVersion, again.ResourceVersion)
	u.expect("they know", "web", "True/Enforced", false)
	if got := u.f.recorder.enforced; len(got) != 2 {
		t.Errorf("measured %v", got)
	}
}

func TestPropagation_ChangeOfInactiveKeyDoesNotFlap(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	k := u.change("web", inactive)
	u.setVersions(k.ResourceVersion, k.ResourceVersion)
	u.expect("inactive", "web", "True/Enforced", false)
	observed := func() int64 {
		return meta.FindStatusCondition(u.w.key("web").Status.Conditions, v1alpha1.ConditionEnforced).ObservedGeneration
	}
	since := meta.FindStatusCondition(u.w.key("web").Status.Conditions, v1alpha1.ConditionEnforced).LastTransitionTime
	for what, change := range map[string]func(*v1alpha1.APIKey){"labelled": keystest.Label("new"), "revoked": keystest.State(v1alpha1.KeyStateRevoked)} {
		before := observed()
		changed := u.change("web", change)
		u.w.clock.SetTime(u.w.clock.Now().Add(time.Minute))
		u.expect(what+", and no verifier has observed it", "web", "True/Enforced", true)
		if observed() != before {
			t.Errorf("%s: reports generation %d before the verifiers observed it", what, observed())
		}
		u.setVersions(changed.ResourceVersion, changed.ResourceVersion)
		u.expect(what, "web", "True/Enforced", false)
		if observed() != changed.Generation {
			t.Errorf("%s: reports generation %d, want %d", what, observed(), changed.Generation)
		}
	}
	if c := meta.FindStatusCondition(u.w.key("web").Status.Conditions, v1alpha1.ConditionEnforced); !c.LastTransitionTime.Equal(&since) {
		t.Errorf("True since %s, was %s", c.LastTransitionTime, since)
	}
	if got := u.f.recorder.enforced; len(got) != 1 {
		t.Errorf("measured %v", got)
	}
}

func TestPropagation_DoesNotMeasureKeysDisabledBefore(t *testing.T) {
	t.Parallel()
	for name, find := range map[string]func(u *usageFixture, was, is *v1alpha1.APIKey){
		"it was disabled before": func(u *usageFixture, _, is *v1alpha1.APIKey) {
			u.keyHandler().Create(t.Context(), event.CreateEvent{Object: is, IsInInitialList: true}, nil)
		},
		"it was disabled while another manager led": func(u *usageFixture, was, is *v1alpha1.APIKey) {
			u.notify(was, is)
			u.propagation.reset()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUsage(t, keystest.Key("web"))
			was := u.w.key("web")
			u.w.change("web", inactive)
			u.w.settle()
			is := u.w.key("web")
			find(u, was, is)
			u.setVersions(is.ResourceVersion, is.ResourceVersion)
			u.expect("found", "web", "True/Enforced", false)
			if got := u.f.recorder.enforced; len(got) > 0 {
				t.Errorf("measured %v", got)
			}
		})
	}
}

func TestPropagation_IgnoresResponsesForOldVersions(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"), keystest.Key("other"), keystest.Key("changed"))
	u.change("other", inactive)
	u.change("changed", inactive)
	versions, _ := u.propagation.unconfirmed()
	u.change("web", inactive)
	u.change("changed", keystest.Label("new"))
	changed, _ := u.propagation.evaluate(versions, []keys.Replica{{Reached: true}}) // it was not synced when it was polled
	if len(changed) != 1 || changed[0].Name != "other" {
		t.Errorf("reported %v", changed)
	}
}

func TestPropagation_IgnoresUnpolledGeneration(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	k := u.change("web", inactive)
	u.setVersions(k.ResourceVersion, k.ResourceVersion)
	changed, _, err := u.poller.pollPropagationOnce(t.Context())
	u.w.must(err)
	u.w.change("web", keystest.Label("new")) // without a watch event
	_, err = u.w.keys().Reconcile(t.Context(), u.w.key("web"))
	u.w.must(err)
	u.reconcile(changed)
	if c := meta.FindStatusCondition(u.w.key("web").Status.Conditions, v1alpha1.ConditionEnforced); c != nil {
		t.Errorf("Enforced is %+v of version %s, polled was version %s", c, u.w.key("web").ResourceVersion, k.ResourceVersion)
	}
}

func TestPropagation_ForgetsDeletedKey(t *testing.T) {
	t.Parallel()
	u := newUsage(t, keystest.Key("web"))
	k := u.change("web", inactive)
	u.keyHandler().Delete(t.Context(), event.DeleteEvent{Object: k}, nil)
	if changed, inProgress, err := u.poller.pollPropagationOnce(t.Context()); len(changed) > 0 || inProgress || err != nil {
		t.Errorf("polls for %v, in progress %t, %v", changed, inProgress, err)
	}
}

// A lagging verifier is polled less and less often, and changes that come together share a poll.
func TestPropagation_LimitsPolls(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		news func(u *usageFixture)
		most int
	}{
		"one lags for a minute": {func(*usageFixture) { time.Sleep(time.Minute) }, 20},
		"one key is disabled in each millisecond of a second": {func(u *usageFixture) {
			for range 1000 {
				u.propagation.triggered.fire()
				time.Sleep(time.Millisecond)
			}
		}, 22},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUsage(t, keystest.Key("web"))
			u.setVersions(u.w.key("web").ResourceVersion, "")
			u.change("web", inactive)
			synctest.Test(t, func(t *testing.T) {
				r := newUsageReconciler(u.Client, clock.RealClock{}, u.poller.verifiers)
				r.propagation.track(nil, u.w.key("web"))
				ctx, stop := context.WithCancel(t.Context())
				go func() {
					for range r.poller.enqueueCh { // discard the keys
						continue
					}
				}()
				u.f.count = 0
				done := make(chan struct{})
				go func() {
					defer close(done)
					pollWhileInProgress(ctx, r.Clock, r.propagation.triggered, r.poller.pollPropagation)
				}()
				tc.news(&usageFixture{UsageReconciler: r})
				stop()
				<-done
				close(r.poller.enqueueCh)
				if polls := u.f.count / 2; polls > tc.most || polls < 5 {
					t.Errorf("polled %d times, want at most %d", polls, tc.most)
				}
			})
		})
	}
}
