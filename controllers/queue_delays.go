// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
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
	delays  map[reconcile.Request]delay
	stopped bool
}

// delay holds the time at which a request is to be added, and whether its object is unchanged.
type delay struct {
	due       time.Time
	timer     clock.Timer
	unchanged bool
}

func newDelayedQueue(
	queue workqueue.TypedInterface[reconcile.Request],
	clk clock.WithDelayedExecution,
	mark func(reconcile.Request),
) *delayedQueue {
	return &delayedQueue{TypedInterface: queue, clock: clk, mark: mark, delays: map[reconcile.Request]delay{}}
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
	if q.stopped || waits && !due.Before(known.due) {
		return
	}
	if waits {
		known.timer.Stop()
	}
	q.delays[item] = delay{due: due, timer: q.clock.AfterFunc(after, func() { q.addDelayed(item, due) }), unchanged: unchanged}
}

// addDelayed adds a request whose delay is over, unless it was dropped or replaced meanwhile.
func (q *delayedQueue) addDelayed(item reconcile.Request, due time.Time) {
	q.mu.Lock()
	current, waits := q.delays[item]
	over := waits && current.due.Equal(due)
	if over {
		delete(q.delays, item)
	}
	q.mu.Unlock()
	if over {
		q.addNow(item, current.unchanged)
	}
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
		d.timer.Stop()
		delete(q.delays, item)
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
	for _, d := range q.delays {
		d.timer.Stop()
	}
	clear(q.delays)
}
