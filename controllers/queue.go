// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// scheduledAfter is the shortest delay of a reconciliation that counts as scheduled. Shorter delays are retries of what a change of
// an object began.
const scheduledAfter = time.Second

// fairQueue returns the requests of a controller in the order of roundRobin. It implements priorityqueue.PriorityQueue, so
// that controller-runtime marks the requests of an initial list.
type fairQueue struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	limiter workqueue.TypedRateLimiter[reconcile.Request]
	delayed *delayedQueue
	order   *roundRobin
}

func newFairQueue(
	name string,
	limiter workqueue.TypedRateLimiter[reconcile.Request],
) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	order := newRoundRobin()
	waiting := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[reconcile.Request]{Name: name, Queue: order})
	delayed := newDelayedQueue(waiting, clock.RealClock{}, order.markUnchanged)
	limited := workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{
		Name: name, DelayingQueue: delayed,
	})
	return &fairQueue{TypedRateLimitingInterface: limited, limiter: limiter, delayed: delayed, order: order}
}

// AddWithOpts implements priorityqueue.PriorityQueue. A priority below 0 means that the object has not changed. That also holds for
// reconciliations that were scheduled.
func (q *fairQueue) AddWithOpts(o priorityqueue.AddOpts, items ...reconcile.Request) {
	unchanged := o.Priority != nil && *o.Priority < 0 || o.After >= scheduledAfter
	for _, item := range items {
		after := o.After
		if o.RateLimited {
			after = q.limiter.When(item)
		}
		q.delayed.add(item, after, unchanged)
	}
}

// GetWithPriority implements priorityqueue.PriorityQueue. controller-runtime adds the request with the same priority again if it is
// to be retried.
func (q *fairQueue) GetWithPriority() (reconcile.Request, int, bool) {
	item, shutdown := q.Get()
	if q.order.take(q.order.served, item) {
		return item, handler.LowPriority, shutdown
	}
	return item, 0, shutdown
}

// changedShare is how many requests of changed objects are returned for each one of an unchanged object while both wait.
const changedShare = 3

// roundRobin orders requests by namespace in turn, so that a namespace with many requests delays each of the others by
// only one request at a time. Accounts have no namespace, and each has its own turn. Changed objects have turns of their own:
// neither a restart nor many rotations that are due at once delay them, in however many namespaces, and a flood of changes
// leaves a share of the turns to the rest. It implements workqueue.Queue.
type roundRobin struct {
	// mu guards marked and served. The rest is guarded by the work queue.
	mu sync.Mutex
	// marked holds requests of unchanged objects that are about to be added, and served those that were returned.
	marked, served map[reconcile.Request]bool

	// waiting holds the requests that wait, and whether the object of each is unchanged.
	waiting            map[reconcile.Request]bool
	changed, unchanged turns
	// streak counts the requests of changed objects that were returned since the last one of an unchanged object.
	streak int
}

func newRoundRobin() *roundRobin {
	return &roundRobin{
		marked: map[reconcile.Request]bool{}, served: map[reconcile.Request]bool{}, waiting: map[reconcile.Request]bool{},
		changed: turns{namespaces: map[string][]reconcile.Request{}}, unchanged: turns{namespaces: map[string][]reconcile.Request{}},
	}
}

func (t *roundRobin) markUnchanged(item reconcile.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.marked[item] = true
}

// take removes a request from a set, and reports whether it was in it.
func (t *roundRobin) take(set map[reconcile.Request]bool, item reconcile.Request) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := set[item]
	delete(set, item)
	return was
}

// Push implements workqueue.Queue.
func (t *roundRobin) Push(item reconcile.Request) {
	if t.waiting[item] = t.take(t.marked, item); t.waiting[item] {
		t.unchanged.push(item)
		return
	}
	t.changed.push(item)
}

// Touch implements workqueue.Queue. It is called for a request that waits already, and moves the request if its object
// has changed since.
func (t *roundRobin) Touch(item reconcile.Request) {
	if unchanged := t.take(t.marked, item); !unchanged && t.waiting[item] {
		t.Push(item)
	}
}

// Len implements workqueue.Queue.
func (t *roundRobin) Len() int { return len(t.waiting) }

// Pop implements workqueue.Queue.
func (t *roundRobin) Pop() reconcile.Request {
	for {
		from, unchanged := &t.changed, false
		if len(t.changed.next) == 0 || len(t.unchanged.next) > 0 && t.streak >= changedShare {
			from, unchanged = &t.unchanged, true
		}
		item := from.pop()
		if is, waits := t.waiting[item]; !waits || is != unchanged {
			continue // it was moved, or returned since
		}
		delete(t.waiting, item)
		if len(t.waiting) == 0 {
			t.waiting = map[reconcile.Request]bool{} // a map keeps the memory for the most requests that it ever held
		}
		t.streak++
		if unchanged {
			t.streak = 0
			t.mu.Lock()
			t.served[item] = true
			t.mu.Unlock()
		}
		return item
	}
}

// turns holds requests by namespace. It may contain requests that wait no more.
type turns struct {
	namespaces map[string][]reconcile.Request
	// next holds the namespaces with requests, in the order of their turns.
	next []string
}

func (t *turns) push(item reconcile.Request) {
	name := cmp.Or(item.Namespace, "/"+item.Name)
	if len(t.namespaces[name]) == 0 {
		t.next = append(t.next, name)
	}
	t.namespaces[name] = append(t.namespaces[name], item)
}

// pop removes and returns the first request of the namespace whose turn it is.
func (t *turns) pop() reconcile.Request {
	name := t.next[0]
	t.next = t.next[1:]
	item, rest := t.namespaces[name][0], t.namespaces[name][1:]
	if len(rest) == 0 {
		delete(t.namespaces, name)
	} else {
		t.namespaces[name], t.next = rest, append(t.next, name)
	}
	return item
}
