// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestDelayedQueue(t *testing.T) {
	t.Parallel()
	key := requestFor("shop", "a")
	work := func(q *delayedQueue) {
		item, _ := q.Get()
		q.Done(item)
	}
	for name, tc := range map[string]struct {
		do   func(q *delayedQueue)
		want []time.Duration // times at which the request is returned
	}{
		"at its time":                      {func(q *delayedQueue) { q.AddAfter(key, 5*time.Second) }, []time.Duration{5 * time.Second}},
		"the earlier of two, added first":  {func(q *delayedQueue) { q.AddAfter(key, time.Second); q.AddAfter(key, 5*time.Second) }, []time.Duration{time.Second}},
		"the earlier of two, added second": {func(q *delayedQueue) { q.AddAfter(key, 5*time.Second); q.AddAfter(key, time.Second) }, []time.Duration{time.Second}},
		"no time is now":                   {func(q *delayedQueue) { q.AddAfter(key, 0) }, []time.Duration{0}},
		"a worker got it meanwhile":        {func(q *delayedQueue) { q.AddAfter(key, 5*time.Second); q.Add(key); work(q) }, nil},
		"a worker got it, and adds it again": {func(q *delayedQueue) {
			q.AddAfter(key, time.Second)
			q.Add(key)
			work(q)
			q.AddAfter(key, 9*time.Second)
		}, []time.Duration{9 * time.Second}},
		"a worker got another": {func(q *delayedQueue) { q.AddAfter(key, time.Second); q.Add(requestFor("shop", "b")); work(q) }, []time.Duration{time.Second}},
		"added while it is handled": {func(q *delayedQueue) {
			q.Add(key)
			item, _ := q.Get()
			q.AddAfter(key, 2*time.Second)
			q.Done(item)
		}, []time.Duration{2 * time.Second}},
		"nothing after the shutdown": {func(q *delayedQueue) { q.AddAfter(key, time.Second); q.ShutDown(); q.AddAfter(key, 2*time.Second) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newDelayedQueue(workqueue.NewTyped[reconcile.Request](), clock.RealClock{}, func(reconcile.Request) {})
				start := time.Now()
				tc.do(q)
				var got []time.Duration
				for range 20 {
					synctest.Wait()
					for q.Len() > 0 {
						work(q)
						got = append(got, time.Since(start))
					}
					time.Sleep(time.Second)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("requests returned (-want +got):\n%s", diff)
				}
				q.ShutDown()
			})
		})
	}
}

// TestDelayedQueue_ManyRequests adds, moves and drops the delays of many requests, and expects each that is left at its time.
func TestDelayedQueue_ManyRequests(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		delays := rapid.SliceOfN(rapid.SliceOfN(rapid.IntRange(0, 60), 1, 3), 1, 40).Draw(rt, "seconds")
		synctest.Test(t, func(*testing.T) {
			q := newDelayedQueue(workqueue.NewTyped[reconcile.Request](), clock.RealClock{}, func(reconcile.Request) {})
			defer q.ShutDown()
			start := time.Now()
			want, got := map[string]time.Duration{}, map[string]time.Duration{}
			for i, seconds := range delays {
				name := strconv.Itoa(i)
				for _, s := range seconds {
					q.AddAfter(requestFor("shop", name), time.Duration(s)*time.Second)
				}
				want[name] = time.Duration(slices.Min(seconds)) * time.Second
			}
			for range 62 {
				synctest.Wait()
				for q.Len() > 0 {
					item, _ := q.Get()
					q.Done(item)
					got[item.Name] = time.Since(start)
				}
				time.Sleep(time.Second)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				rt.Errorf("requests returned (-want +got):\n%s", diff)
			}
		})
	})
}
