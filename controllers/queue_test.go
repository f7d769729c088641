// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func requestFor(namespace, name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

func newTestQueue(t *testing.T) priorityqueue.PriorityQueue[reconcile.Request] {
	t.Helper()
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Millisecond, time.Second)
	q, ok := newFairQueue("", limiter).(priorityqueue.PriorityQueue[reconcile.Request])
	if !ok {
		t.Fatal("controller-runtime would not mark the requests of an initial list")
	}
	t.Cleanup(q.ShutDown)
	return q
}

// drain handles all waiting requests, one after the other.
func drain(q priorityqueue.PriorityQueue[reconcile.Request]) []string {
	var order []string
	for q.Len() > 0 {
		item, _, _ := q.GetWithPriority()
		q.Done(item)
		order = append(order, item.String())
	}
	return order
}

func addUnchanged(q priorityqueue.PriorityQueue[reconcile.Request], items ...reconcile.Request) {
	q.AddWithOpts(priorityqueue.AddOpts{Priority: new(handler.LowPriority)}, items...)
}

// TestFairQueue_NamespacesTakeTurns: a namespace with a thousand requests delays another by one.
func TestFairQueue_NamespacesTakeTurns(t *testing.T) {
	t.Parallel()
	q := newTestQueue(t)
	for i := range 1000 {
		q.Add(requestFor("flood", fmt.Sprintf("key-%d", i)))
	}
	q.Add(requestFor("shop", "a"))
	q.Add(requestFor("shop", "b"))
	q.Add(requestFor("blog", "c"))
	if got, want := drain(q)[:6], []string{"flood/key-0", "shop/a", "blog/c", "flood/key-1", "shop/b", "flood/key-2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestFairQueue_OneHotKey: a key that changes all the time takes every second turn.
func TestFairQueue_OneHotKey(t *testing.T) {
	t.Parallel()
	q := newTestQueue(t)
	q.Add(requestFor("flood", "hot"))
	for i := range 3 {
		q.Add(requestFor("shop", fmt.Sprint(i)))
	}
	var order []string
	for range 6 {
		item, _, _ := q.GetWithPriority()
		order = append(order, item.String())
		for range 2000 {
			q.Add(requestFor("flood", "hot"))
		}
		q.Done(item)
	}
	if want := []string{"flood/hot", "shop/0", "flood/hot", "shop/1", "flood/hot", "shop/2"}; !slices.Equal(order, want) {
		t.Errorf("got %q, want %q", order, want)
	}
}

// TestFairQueue_ChangedObjectsFirst: objects of an initial list wait for changed objects, whatever their namespaces, but get
// every fourth turn.
func TestFairQueue_ChangedObjectsFirst(t *testing.T) {
	t.Parallel()
	q := newTestQueue(t)
	addUnchanged(q, requestFor("shop", "a"), requestFor("shop", "b"), requestFor("shop", "c"), requestFor("blog", "a"))
	q.Add(requestFor("shop", "b")) // it has changed meanwhile
	q.Add(requestFor("shop", "new"))
	addUnchanged(q, requestFor("shop", "new"))
	for i := range 3 {
		q.Add(requestFor("flood", fmt.Sprint(i)))
	}
	want := []string{"shop/b", "flood/0", "shop/new", "shop/a", "flood/1", "flood/2", "blog/a", "shop/c"}
	if got := drain(q); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestFairQueue_ScheduledRequestsYield: a new object does not wait for rotations that are due at once in many namespaces.
func TestFairQueue_ScheduledRequestsYield(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(t)
		for i := range 100 {
			q.AddWithOpts(priorityqueue.AddOpts{After: time.Minute}, requestFor(fmt.Sprintf("tenant-%d", i), "due"))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		q.Add(requestFor("shop", "new"))
		if got := drain(q); len(got) != 101 || got[0] != "shop/new" {
			t.Errorf("got %q", got)
		}
	})
}

// TestFairQueue_RetryKeepsPriority: the retry of a scheduled request does not count as a change, and that of a change does.
func TestFairQueue_RetryKeepsPriority(t *testing.T) {
	t.Parallel()
	for name, retry := range map[string]priorityqueue.AddOpts{"soon": {After: time.Millisecond}, "after a failure": {RateLimited: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newTestQueue(t)
				q.AddWithOpts(priorityqueue.AddOpts{After: time.Minute}, requestFor("a", "scheduled"))
				time.Sleep(time.Minute)
				synctest.Wait()
				q.Add(requestFor("b", "changed"))
				for range 2 {
					item, priority, _ := q.GetWithPriority()
					options := retry
					options.Priority = &priority
					q.AddWithOpts(options, item)
					q.Done(item)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				for _, want := range []struct {
					item     string
					priority int
				}{{"b/changed", 0}, {"a/scheduled", handler.LowPriority}} {
					item, priority, _ := q.GetWithPriority()
					q.Done(item)
					if item.String() != want.item || priority != want.priority {
						t.Errorf("got %s with priority %d, want %+v", item, priority, want)
					}
				}
			})
		})
	}
}

func TestFairQueue_EachAccountHasItsOwnTurn(t *testing.T) {
	t.Parallel()
	q := newTestQueue(t)
	q.AddWithOpts(priorityqueue.AddOpts{}, requestFor("", "acme"), requestFor("", "zeta"), requestFor("", "acme"))
	if got, want := drain(q), []string{"/acme", "/zeta"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFairQueue_DelayedAndRateLimited(t *testing.T) {
	t.Parallel()
	q := newTestQueue(t)
	q.AddWithOpts(priorityqueue.AddOpts{After: time.Millisecond}, requestFor("a", "later"))
	q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true}, requestFor("b", "again"))
	got := map[string]bool{}
	for range 2 {
		item, _, _ := q.GetWithPriority()
		got[item.String()] = true
		q.Done(item)
	}
	if want := map[string]bool{"a/later": true, "b/again": true}; !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

// TestRoundRobin_ServesEachRequestOnce: in any order of events each waiting request is returned once. While a changed object of a
// namespace waits, each other namespace has at most one turn for its changed objects, and unchanged objects get at most every
// fourth turn. They get it, too.
func TestRoundRobin_ServesEachRequestOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		order, waiting := newRoundRobin(), map[reconcile.Request]bool{} // whether each is unchanged
		served := map[string]map[string]int{}                           // how often others were served while a namespace waited
		streak := 0
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				item := requestFor(rapid.SampledFrom([]string{"a", "b", "c", ""}).Draw(t, "namespace"), rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "name"))
				unchanged := rapid.Bool().Draw(t, "unchanged")
				if unchanged {
					order.markUnchanged(item)
				}
				was, waits := waiting[item]
				if waits {
					order.Touch(item)
				} else {
					order.Push(item)
				}
				waiting[item] = unchanged && (was || !waits)
			},
			"get": func(t *rapid.T) {
				if order.Len() == 0 {
					t.Skip("nothing waits")
				}
				item := order.Pop()
				unchanged, waits := waiting[item]
				if !waits || order.take(order.served, item) != unchanged {
					t.Fatalf("%s waits: %v, unchanged: %v", item, waits, unchanged)
				}
				delete(waiting, item)
				others := map[bool]map[string]bool{true: {}, false: {}}
				for other, unchanged := range waiting {
					others[unchanged][other.Namespace] = other.Namespace != item.Namespace && other.Namespace != "" && item.Namespace != ""
				}
				streak++
				if unchanged {
					if len(others[false]) > 0 && streak <= changedShare {
						t.Fatalf("the unchanged %s was served after %d requests, while changed ones waited", item, streak-1)
					}
					streak = 0
					return
				}
				if len(others[true]) > 0 && streak > changedShare {
					t.Fatalf("%d changed requests were served while unchanged ones waited", streak)
				}
				delete(served, item.Namespace)
				for namespace, waits := range others[false] {
					if !waits {
						continue
					}
					if served[namespace] == nil {
						served[namespace] = map[string]int{}
					}
					if served[namespace][item.Namespace]++; served[namespace][item.Namespace] > 1 {
						t.Fatalf("%s was served twice while %s waited", item.Namespace, namespace)
					}
				}
			},
			"": func(t *rapid.T) {
				if order.Len() != len(waiting) {
					t.Fatalf("%d requests wait, not %d", order.Len(), len(waiting))
				}
			},
		})
	})
}
