// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"sync"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// fairQueue returns the requests of a controller in the order of roundRobin. It implements priorityqueue.PriorityQueue, so
// that controller-runtime marks the requests of an initial list.
type fairQueue struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	order *roundRobin
}

func newFairQueue(
	name string,
	limiter workqueue.TypedRateLimiter[reconcile.Request],
) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	order := newRoundRobin()
	waiting := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[reconcile.Request]{Name: name, Queue: order})
	limited := workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{
		Name: name, DelayingQueue: newDelayedQueue(waiting, clock.RealClock{}),
	})
	return &fairQueue{TypedRateLimitingInterface: limited, order: order}
}

// AddWithOpts implements priorityqueue.PriorityQueue. A priority below 0 means that the object has not changed.
func (q *fairQueue) AddWithOpts(o priorityqueue.AddOpts, items ...reconcile.Request) {
	for _, item := range items {
		if o.Priority != nil && *o.Priority < 0 {
			q.order.markUnchanged(item)
		}
		switch {
		case o.RateLimited:
			q.AddRateLimited(item)
		case o.After > 0:
			q.AddAfter(item, o.After)
		default:
			q.Add(item)
		}
	}
}

// GetWithPriority implements priorityqueue.PriorityQueue.
func (q *fairQueue) GetWithPriority() (reconcile.Request, int, bool) {
	item, shutdown := q.Get()
	return item, 0, shutdown
}

// roundRobin orders requests by namespace in turn, so that a namespace with many requests delays each of the others by
// only one request at a time. Accounts have no namespace, and each has its own turn. Within a namespace, changed
// objects come before those of an initial list. It implements workqueue.Queue.
type roundRobin struct {
	// mu guards unchanged. The rest is guarded by the work queue.
	mu        sync.Mutex
	unchanged map[reconcile.Request]bool

	// waiting holds the requests that wait, and whether each is in the unchanged part of its namespace.
	waiting    map[reconcile.Request]bool
	namespaces map[string]*namespaceQueue
	// next holds the namespaces with requests, in the order of their turns.
	next []string
}

// namespaceQueue holds the requests of one namespace. unchanged may contain requests that were moved to changed, or
// that were handled since.
type namespaceQueue struct{ changed, unchanged []reconcile.Request }

func newRoundRobin() *roundRobin {
	return &roundRobin{
		unchanged:  map[reconcile.Request]bool{},
		waiting:    map[reconcile.Request]bool{},
		namespaces: map[string]*namespaceQueue{},
	}
}

func (t *roundRobin) markUnchanged(item reconcile.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unchanged[item] = true
}

// takeMark reports whether a request was marked, and removes the mark.
func (t *roundRobin) takeMark(item reconcile.Request) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	marked := t.unchanged[item]
	delete(t.unchanged, item)
	return marked
}

// Push implements workqueue.Queue.
func (t *roundRobin) Push(item reconcile.Request) {
	name := cmp.Or(item.Namespace, "/"+item.Name)
	l := t.namespaces[name]
	if l == nil {
		l = &namespaceQueue{}
		t.namespaces[name], t.next = l, append(t.next, name)
	}
	if t.waiting[item] = t.takeMark(item); t.waiting[item] {
		l.unchanged = append(l.unchanged, item)
		return
	}
	l.changed = append(l.changed, item)
}

// Touch implements workqueue.Queue. It is called for a request that waits already, and moves the request if its object
// has changed since.
func (t *roundRobin) Touch(item reconcile.Request) {
	if unchanged := t.takeMark(item); !unchanged && t.waiting[item] {
		t.Push(item)
	}
}

// Len implements workqueue.Queue.
func (t *roundRobin) Len() int { return len(t.waiting) }

// Pop implements workqueue.Queue.
func (t *roundRobin) Pop() reconcile.Request {
	for {
		name := t.next[0]
		t.next = t.next[1:]
		l := t.namespaces[name]
		item, found := t.first(l)
		if len(l.changed)+len(l.unchanged) == 0 {
			delete(t.namespaces, name)
		} else {
			t.next = append(t.next, name)
		}
		if found {
			delete(t.waiting, item)
			return item
		}
	}
}

// first removes and returns the first waiting request of a namespace.
func (t *roundRobin) first(l *namespaceQueue) (reconcile.Request, bool) {
	if len(l.changed) > 0 {
		item := l.changed[0]
		l.changed = l.changed[1:]
		return item, true
	}
	for len(l.unchanged) > 0 {
		item := l.unchanged[0]
		l.unchanged = l.unchanged[1:]
		if t.waiting[item] {
			return item, true
		}
	}
	return reconcile.Request{}, false
}
