// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

const (
	// minBackoff and maxBackoff limit the time between two polls while the propagation of a change is in progress. The
	// time is short at first, because most changes propagate within milliseconds, and grows while a verifier lags.
	minBackoff = 10 * time.Millisecond
	maxBackoff = 15 * time.Second
	// triggerDelay is the time from a trigger to the poll, so that keys that change together share one poll.
	triggerDelay = 50 * time.Millisecond
)

// trigger requests a poll at once. Requests that come before the poll share it.
type trigger chan struct{}

func newTrigger() trigger { return make(trigger, 1) }

// fire requests a poll, and never blocks.
func (t trigger) fire() {
	select {
	case t <- struct{}{}:
	default:
	}
}

// pollWhileInProgress calls poll when it is triggered, and again while poll returns true, until the context is done.
func pollWhileInProgress(ctx context.Context, now clock.PassiveClock, triggered trigger, poll func(context.Context) bool) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	armed, pause, polledAt := triggered, minBackoff, time.Time{}
	for {
		select {
		case <-armed:
			armed, pause = nil, minBackoff // further triggers share this poll
			timer.Reset(max(minBackoff, triggerDelay-now.Since(polledAt)))
			continue
		case <-timer.C:
			armed, polledAt = triggered, now.Now()
		case <-ctx.Done():
			return
		}
		if poll(ctx) {
			timer.Reset(pause)
			pause = min(2*pause, maxBackoff)
		}
	}
}

// enqueue sends keys to the controller that reads the channel.
func enqueue(ctx context.Context, ch chan<- event.GenericEvent, list ...types.NamespacedName) {
	for _, name := range list {
		k := &v1alpha1.APIKey{}
		k.Namespace, k.Name = name.Namespace, name.Name
		select {
		case ch <- event.GenericEvent{Object: k}:
		case <-ctx.Done():
			return
		}
	}
}
