// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// crashCases are changes that users make to settled objects. After each of them the objects must reach the wanted
// states, whichever write fails.
var crashCases = map[string]struct {
	before func(*testing.T) *fixture
	users  func(*fixture)
	want   map[string]v1alpha1.ObservedState
}{
	"the first key of an account that does not exist": {
		before: func(t *testing.T) *fixture { return newFixture(t, keystest.Key("web")) },
		want:   map[string]v1alpha1.ObservedState{"web": v1alpha1.StateActive},
	},
	"two keys, one of them inactive": {
		before: func(t *testing.T) *fixture {
			return newFixture(t, keystest.NewAccount("acme"), keystest.Key("web"), keystest.Key("off", keystest.State(v1alpha1.KeyStateInactive)))
		},
		want: map[string]v1alpha1.ObservedState{"web": v1alpha1.StateActive, "off": v1alpha1.StateInactive},
	},
	"a Secret is deleted": {
		before: settled(keystest.Key("web")),
		users:  func(w *fixture) { w.must(w.client.Delete(w.t.Context(), w.secret("web"))) },
		want:   map[string]v1alpha1.ObservedState{"web": v1alpha1.StateActive},
	},
	"a Secret is edited": {
		before: settled(keystest.Key("web")),
		users: func(w *fixture) {
			s := w.secret("web")
			s.Data[keys.EntryCurrent] = keystest.MaterialOf("another")
			w.must(w.client.Update(w.t.Context(), s))
		},
		want: map[string]v1alpha1.ObservedState{"web": v1alpha1.StateActive},
	},
	"a Secret loses its labels": {
		before: settled(keystest.Key("web")),
		users: func(w *fixture) {
			s := w.secret("web")
			s.Labels = nil
			w.must(w.client.Update(w.t.Context(), s))
		},
		want: map[string]v1alpha1.ObservedState{"web": v1alpha1.StateActive},
	},
	"a key is revoked": {
		before: settled(keystest.Key("web"), keystest.Key("other")),
		users:  func(w *fixture) { w.change("web", keystest.State(v1alpha1.KeyStateRevoked)) },
		want:   map[string]v1alpha1.ObservedState{"web": v1alpha1.StateRevoked, "other": v1alpha1.StateActive},
	},
	"a key is rotated": {
		before: settled(keystest.Key("web")),
		users: func(w *fixture) {
			w.change("web", func(k *v1alpha1.APIKey) { keystest.Requested(keystest.Epoch)(k); keystest.Rotation("", "1h")(k) })
		},
		want: map[string]v1alpha1.ObservedState{"web": v1alpha1.StateActive},
	},
	"a key is compromised": {
		before: settled(keystest.Key("web")),
		users: func(w *fixture) {
			w.clock.SetTime(at(time.Minute))
			w.change("web", keystest.RevokedBefore(at(time.Minute)))
		},
		want: map[string]v1alpha1.ObservedState{"web": v1alpha1.StateActive},
	},
	"a key expires while its Secret is deleted": {
		before: settled(keystest.Key("web", keystest.Expiring(at(time.Hour)))),
		users: func(w *fixture) {
			w.clock.SetTime(at(time.Hour))
			w.must(w.client.Delete(w.t.Context(), w.secret("web")))
		},
		want: map[string]v1alpha1.ObservedState{"web": v1alpha1.StateExpired},
	},
	"a key releases its slot to one that waits": {
		before: settled(keystest.NewAccount("acme", keystest.MaxKeys(1), keystest.Counting(v1alpha1.CountUsable)),
			keystest.Key("web"), keystest.Key("waits", keystest.Created(at(time.Second)))),
		users: func(w *fixture) { w.change("web", keystest.State(v1alpha1.KeyStateInactive)) },
		want:  map[string]v1alpha1.ObservedState{"web": v1alpha1.StateInactive, "waits": v1alpha1.StateActive},
	},
	"a key is deleted and another takes its slot": {
		before: settled(keystest.NewAccount("acme", keystest.MaxKeys(1)), keystest.Key("web"), keystest.Key("waits", keystest.Created(at(time.Second)))),
		users: func(w *fixture) {
			w.must(w.client.Delete(w.t.Context(), w.key("web")))
			w.must(w.client.Delete(w.t.Context(), w.secret("web"))) // as the garbage collector does
		},
		want: map[string]v1alpha1.ObservedState{"waits": v1alpha1.StateActive},
	},
	"an account is suspended": {
		before: settled(keystest.NewAccount("acme"), keystest.Key("web")),
		users:  func(w *fixture) { w.setAccountState(v1alpha1.AccountSuspended) },
		want:   map[string]v1alpha1.ObservedState{"web": v1alpha1.StateSuspended},
	},
	"an account is resumed": {
		before: func(t *testing.T) *fixture {
			w := settled(keystest.NewAccount("acme"), keystest.Key("web"))(t)
			w.setAccountState(v1alpha1.AccountSuspended)
			w.settle()
			w.writes = nil
			return w
		},
		users: func(w *fixture) { w.setAccountState(v1alpha1.AccountActive) },
		want:  map[string]v1alpha1.ObservedState{"web": v1alpha1.StateActive},
	},
}

// settled returns a function that creates a fixture in which the manager has no work left.
func settled(objects ...metav1.Object) func(*testing.T) *fixture {
	return func(t *testing.T) *fixture {
		t.Helper()
		w := newFixture(t)
		for _, o := range objects {
			switch o := o.(type) {
			case *v1alpha1.APIKey:
				w.add(o.DeepCopy())
			case *v1alpha1.Account:
				w.add(o.DeepCopy())
			}
		}
		w.settle()
		w.writes, w.reads = nil, nil
		_ = w.emittedEvents()
		return w
	}
}

// TestCrashes runs every case with a failure of every write: the write fails, its response is lost, or the manager
// crashes after it. Afterwards a manager without failures must reach the same result as without the failure.
func TestCrashes(t *testing.T) {
	t.Parallel()
	for name, tc := range crashCases {
		for how, f := range map[string]fault{"fails": faultBefore, "succeeds without a response": faultAfter, "precedes a crash": faultCrash} {
			t.Run(name+", and the n-th write "+how, func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					struck := false
					t.Run(fmt.Sprint(n), func(t *testing.T) {
						w := tc.before(t)
						w.fault = func(i int) fault {
							if i == n {
								struck = true
								return f
							}
							return faultNone
						}
						if tc.users != nil {
							tc.users(w)
						}
						w.settleOrCrash()
						w.fault = func(int) fault { return faultNone }
						w.settle()
						w.expectStates(tc.want)
					})
					if !struck || t.Failed() {
						return
					}
				}
			})
		}
	}
}

// expectStates checks the states of all keys, and the invariants of keys that have a credential.
func (w *fixture) expectStates(want map[string]v1alpha1.ObservedState) {
	w.t.Helper()
	slots := map[string]bool{}
	for _, s := range w.account("acme").Status.Slots {
		slots[s.Name] = true
	}
	for name, state := range want {
		k := w.key(name)
		if k.Status.State != state {
			w.t.Errorf("key %s is %s, want %s: %+v", name, k.Status.State, state, k.Status.Conditions)
		}
		switch state {
		case v1alpha1.StateRevoked:
			if s := w.secret(name); s == nil || len(s.Data[keys.EntryCurrent]) > 0 {
				w.t.Errorf("the Secret of revoked key %s is not empty", name)
			}
		default:
			w.expectSound(name)
		}
		if state == v1alpha1.StateActive && !slots[name] {
			w.t.Errorf("key %s is Active without a slot", name)
		}
	}
	var secrets int
	for name := range want {
		if w.secret(name) != nil {
			secrets++
		}
	}
	if secrets != len(want) {
		w.t.Errorf("%d Secrets for %d keys", secrets, len(want))
	}
}
