// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"testing"
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

// TestFairQueue_ChangedObjectsFirst: objects of an initial list wait for changed objects of their namespace, but not
// for those of other namespaces.
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
	want := []string{"shop/b", "blog/a", "flood/0", "shop/new", "flood/1", "shop/a", "flood/2", "shop/c"}
	if got := drain(q); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
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

// TestRoundRobin_ServesEachRequestOnce: in any order of events each waiting request is returned once, and no namespace
// waits for more than one request of each other namespace.
func TestRoundRobin_ServesEachRequestOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		turns, waiting := newRoundRobin(), map[reconcile.Request]bool{}
		served := map[string]map[string]int{} // how often others were served while a namespace waited
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				item := requestFor(rapid.SampledFrom([]string{"a", "b", "c", ""}).Draw(t, "namespace"), rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "name"))
				if rapid.Bool().Draw(t, "unchanged") {
					turns.markUnchanged(item)
				}
				if waiting[item] {
					turns.Touch(item)
				} else {
					turns.Push(item)
				}
				waiting[item] = true
			},
			"get": func(t *rapid.T) {
				if turns.Len() == 0 {
					t.Skip("nothing waits")
				}
				item := turns.Pop()
				if !waiting[item] {
					t.Fatalf("%s does not wait", item)
				}
				delete(waiting, item)
				delete(served, item.Namespace)
				others := map[string]bool{}
				for other := range waiting {
					others[other.Namespace] = other.Namespace != item.Namespace && other.Namespace != "" && item.Namespace != ""
				}
				for namespace, waits := range others {
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
				if turns.Len() != len(waiting) {
					t.Fatalf("%d requests wait, not %d", turns.Len(), len(waiting))
				}
			},
		})
	})
}
