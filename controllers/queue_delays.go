// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"container/heap"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// delayedQueue adds requests to a queue after a delay. A request that a worker gets before that is
// not added again: its reconciliation returns a new delay. It implements workqueue.TypedDelayingInterface. The
// implementation in client-go adds the request in any case, so that each new key would be reconciled again five
// seconds after it was issued.
type delayedQueue struct {
	workqueue.TypedInterface[reconcile.Request]
	clock clock.WithDelayedExecution
	// mark marks requests of unchanged objects before they are added.
	mark func(reconcile.Request)

	mu      sync.Mutex
	delays  map[reconcile.Request]*delay
	order   delayHeap
	timer   clock.Timer // ends when the first delay does, or earlier; nil if there was no delay yet
	wake    time.Time   // the time at which timer ends; zero if it has ended
	stopped bool
}

// delay holds a request, the time at which it is to be added, and whether its object is unchanged.
type delay struct {
	item      reconcile.Request
	due       time.Time
	index     int // in the heap
	unchanged bool
}

func newDelayedQueue(
	queue workqueue.TypedInterface[reconcile.Request],
	clk clock.WithDelayedExecution,
	mark func(reconcile.Request),
) *delayedQueue {
	return &delayedQueue{TypedInterface: queue, clock: clk, mark: mark, delays: map[reconcile.Request]*delay{}}
}

// AddAfter implements workqueue.TypedDelayingInterface.
func (q *delayedQueue) AddAfter(item reconcile.Request, after time.Duration) {
	q.add(item, after, false)
}

// add adds a request after a delay. If a request has two delays, the one that ends first applies.
func (q *delayedQueue) add(item reconcile.Request, after time.Duration, unchanged bool) {
	if after <= 0 {
		q.addNow(item, unchanged)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	due := q.clock.Now().Add(after)
	known, waits := q.delays[item]
	switch {
	case q.stopped || waits && !due.Before(known.due):
		return
	case waits:
		known.due, known.unchanged = due, unchanged
		heap.Fix(&q.order, known.index)
	default:
		q.delays[item] = &delay{item: item, due: due, unchanged: unchanged}
		heap.Push(&q.order, q.delays[item])
	}
	q.setTimer()
}

// setTimer makes the timer end when the first delay does, unless it ends earlier.
func (q *delayedQueue) setTimer() {
	if len(q.order) == 0 || !q.wake.IsZero() && !q.order[0].due.Before(q.wake) {
		return
	}
	q.wake = q.order[0].due
	after := q.wake.Sub(q.clock.Now())
	if q.timer == nil {
		q.timer = q.clock.AfterFunc(after, q.addDue)
		return
	}
	q.timer.Reset(after)
}

// addDue adds the requests whose delay is over.
func (q *delayedQueue) addDue() {
	q.mu.Lock()
	q.wake = time.Time{}
	now := q.clock.Now()
	var over []*delay
	for len(q.order) > 0 && !q.order[0].due.After(now) {
		over = append(over, q.order[0])
		q.remove(q.order[0])
	}
	q.setTimer()
	q.mu.Unlock()
	for _, d := range over {
		q.addNow(d.item, d.unchanged)
	}
}

func (q *delayedQueue) remove(d *delay) {
	heap.Remove(&q.order, d.index)
	delete(q.delays, d.item)
}

func (q *delayedQueue) addNow(item reconcile.Request, unchanged bool) {
	if unchanged {
		q.mark(item)
	}
	q.Add(item)
}

// Get implements workqueue.TypedInterface. It drops the delay of the request that it returns.
func (q *delayedQueue) Get() (reconcile.Request, bool) {
	item, shutdown := q.TypedInterface.Get()
	q.mu.Lock()
	defer q.mu.Unlock()
	if d, waits := q.delays[item]; waits {
		q.remove(d)
	}
	return item, shutdown
}

// ShutDown implements workqueue.TypedInterface.
func (q *delayedQueue) ShutDown() {
	q.stop()
	q.TypedInterface.ShutDown()
}

// ShutDownWithDrain implements workqueue.TypedInterface.
func (q *delayedQueue) ShutDownWithDrain() {
	q.stop()
	q.TypedInterface.ShutDownWithDrain()
}

// stop drops all delays.
func (q *delayedQueue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	if q.timer != nil {
		q.timer.Stop()
	}
	clear(q.delays)
	q.order = nil
}

// delayHeap orders delays by the time at which they end. It implements heap.Interface.
type delayHeap []*delay

func (h delayHeap) Len() int           { return len(h) }
func (h delayHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

func (h delayHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *delayHeap) Push(x any) {
	d := x.(*delay) //nolint:forcetypeassert // only add pushes
	d.index = len(*h)
	*h = append(*h, d)
}

// Pop implements heap.Interface.
func (h *delayHeap) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil // do not keep it from the garbage collector
	*h = (*h)[:last]
	return d
}
