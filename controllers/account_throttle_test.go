// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// statusWrites returns the number of writes of the account's status.
func statusWrites(w *fixture) int {
	return len(w.writes) - len(slices.DeleteFunc(slices.Clone(w.writes), func(s string) bool { return s == "update status of Account acme" }))
}

// TestAccountThrottle_WritesPerBatch creates keys one after the other, five in each millisecond, and counts how often the
// status is written. The events of keys are simulated: each of them enqueues the account after admissionWindow.
func TestAccountThrottle_WritesPerBatch(t *testing.T) {
	t.Parallel()
	const perRound = 20
	for _, tc := range []struct{ keys, most int }{{5, 1}, {20, 1}, {100, 4}, {200, 5}} {
		t.Run(fmt.Sprint(tc.keys), func(t *testing.T) {
			t.Parallel()
			w := newFixture(t, keystest.NewAccount("acme", keystest.MaxKeys(1000)))
			r := w.accounts()
			created := 0
			for due := time.Duration(0); len(w.account("acme").Status.Slots) < tc.keys; {
				before := created
				for i := 0; i < perRound && created < tc.keys; i++ {
					w.add(keystest.Key(fmt.Sprintf("key-%d", created)))
					created++
				}
				w.clock.SetTime(w.clock.Now().Add(admissionWindow))
				if due -= admissionWindow; due > 0 && created == before {
					continue // no event enqueues the account earlier
				}
				result, err := r.Reconcile(t.Context(), w.account("acme"))
				w.must(err)
				due = result.RequeueAfter
			}
			if got := statusWrites(w); got > tc.most {
				t.Errorf("%d writes of the status for %d keys, want at most %d", got, tc.keys, tc.most)
			}
		})
	}
}

func TestAccountThrottle_DelaysLargeAccountsOnly(t *testing.T) {
	t.Parallel()
	crowd := func(n int) []client.Object {
		list := []client.Object{keystest.NewAccount("acme", keystest.MaxKeys(1000))}
		for i := range n {
			list = append(list, keystest.Key(fmt.Sprintf("key-%d", i)))
		}
		return list
	}
	for name, tc := range map[string]struct {
		keys   int
		change func(w *fixture)
		pause  time.Duration
		want   int // slots
	}{
		"a small account writes at once":            {19, nil, 0, 20},
		"a large account waits":                     {50, nil, 49 * time.Millisecond, 50},
		"and writes when the interval is over":      {50, nil, 50 * time.Millisecond, 51},
		"a change of the spec is written at once":   {50, func(w *fixture) { w.setAccountState(v1alpha1.AccountActive) }, 0, 51},
		"another manager does not know of the last": {50, nil, -1, 51},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t, crowd(tc.keys)...)
			r := w.accounts()
			_, err := r.Reconcile(t.Context(), w.account("acme"))
			w.must(err)
			w.add(keystest.Key("late", keystest.Created(at(time.Second))))
			if tc.change != nil {
				tc.change(w)
			}
			if tc.pause < 0 {
				r, tc.pause = w.accounts(), 0
			}
			w.clock.SetTime(w.clock.Now().Add(tc.pause))
			result, err := r.Reconcile(t.Context(), w.account("acme"))
			w.must(err)
			if got := len(w.account("acme").Status.Slots); got != tc.want {
				t.Errorf("%d slots, want %d", got, tc.want)
			}
			if waits := tc.want == tc.keys; waits && result.RequeueAfter != time.Millisecond {
				t.Errorf("requeued after %s, want the rest of the interval", result.RequeueAfter)
			}
		})
	}
}

// An account with few slots, whose keys wait in great number, is not reconciled for each of them.
func TestAccountThrottle_CountsKeysThatWait(t *testing.T) {
	t.Parallel()
	var throttle accountThrottle
	now := keystest.Epoch
	throttle.finish("acme", now, 100_000, 5)
	if got := throttle.wait("acme", now); got != 2*time.Second {
		t.Errorf("the next round of 100,000 keys waits for %s, want 2s", got)
	}
	if got := throttle.wait("zeta", now); got != 0 {
		t.Errorf("another account waits for %s", got)
	}
}

func TestAccountThrottle_ForgetsAccounts(t *testing.T) {
	t.Parallel()
	var throttle accountThrottle
	for i := range 10_000 {
		throttle.finish(fmt.Sprint(i), keystest.Epoch.Add(time.Duration(i)*time.Second), 100, 100)
	}
	if got := len(throttle.next); got > minSweepSize {
		t.Errorf("%d accounts are remembered", got)
	}
}

// Many keys that are deleted at once release their slots in several rounds.
func TestAccount_ConfirmsInBatches(t *testing.T) {
	t.Parallel()
	const total = maxConfirmations + 20
	var deleted []*v1alpha1.APIKey
	for i := range total {
		deleted = append(deleted, keystest.Key(fmt.Sprintf("key-%d", i)))
	}
	w := newFixture(t, keystest.NewAccount("acme", keystest.MaxKeys(1000), keystest.Slots(deleted...)))
	r := w.accounts()
	for _, want := range []int{20, 0} {
		result, err := r.Reconcile(t.Context(), w.account("acme"))
		w.must(err)
		if got := len(w.account("acme").Status.Slots); got != want {
			t.Errorf("%d slots, want %d", got, want)
		}
		if more := want > 0; more != (result.RequeueAfter == staleRequeueAfter) {
			t.Errorf("%d slots to confirm, and requeued after %s", want, result.RequeueAfter)
		}
	}
	if got := len(w.reads); got != total {
		t.Errorf("%d reads from the API server, want %d", got, total)
	}
}
