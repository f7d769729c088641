// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

const (
	// usagePollTimeout is the time that one replica has to report all uses.
	usagePollTimeout = 20 * time.Second
	// usagePollOverlap is how far each request for uses reaches back before the last response: uses are reported to the
	// minute.
	usagePollOverlap = 2 * time.Minute
	// propagationPollTimeout is the time that one replica has to report which keys it refuses.
	propagationPollTimeout = time.Second
)

// verifierPoller polls the replicas of the verifier for the uses of keys, and for the disabled keys that they refuse. It passes
// the responses to two trackers, and enqueues the keys whose status has to be written.
type verifierPoller struct {
	client.Reader

	clock       clock.PassiveClock
	verifiers   Verifiers
	usage       *usageTracker
	propagation *propagationTracker
	// active reports whether a key or a verifier changed since the last poll interval began.
	active atomic.Bool
	// enqueueCh receives the keys whose status has to be written.
	enqueueCh chan event.GenericEvent
}

// run polls the verifiers for as long as this manager leads.
func (p *verifierPoller) run(ctx context.Context) error {
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithName("verifiers"))
	p.usage.reset()
	p.propagation.reset()
	var loops sync.WaitGroup
	loops.Go(func() { p.pollUsage(ctx) })
	loops.Go(func() { pollWhileInProgress(ctx, p.clock, p.propagation.triggered, p.pollPropagation) })
	loops.Wait()
	return nil
}

// pollUsage requests the uses of keys once in each poll interval that is due.
func (p *verifierPoller) pollUsage(ctx context.Context) {
	ticker := time.NewTicker(p.verifiers.PollInterval)
	defer ticker.Stop()
	since, backoff := map[string]time.Time{}, usageBackoff{}
	for {
		if backoff.isDue(p.active.Swap(false)) {
			due, quiet, err := p.pollUsageOnce(ctx, since)
			if err != nil && ctx.Err() == nil {
				log.FromContext(ctx).Error(err, "Could not poll the verifiers for the uses of keys")
			}
			backoff.record(quiet)
			enqueue(ctx, p.enqueueCh, due...)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// pollUsageOnce requests the uses of keys from all replicas, and returns the keys whose status has to be written. since holds,
// by address, the time from which on a replica has to report uses, by the replica's own clock. quiet is the result for usageBackoff.
func (p *verifierPoller) pollUsageOnce(
	ctx context.Context, since map[string]time.Time,
) (due []types.NamespacedName, quiet bool, err error) {
	live, err := p.verifiers.poll(ctx, p, usagePollTimeout, func(one *replica) UsageRequest {
		one.requestedAt = p.clock.Now()
		return UsageRequest{IncludeUsage: true, Since: since[one.address]}
	}, p.usage.observe)
	if err != nil {
		return nil, false, err
	}
	now, next := p.clock.Now(), map[string]time.Time{}
	quiet = true
	for _, one := range live {
		quiet = quiet && one.err == nil && !one.used
		if one.err != nil {
			log.FromContext(ctx).Info("Could not request the uses of keys from a verifier", "address", one.address, "cause", one.err.Error())
			next[one.address] = since[one.address]
			continue
		}
		next[one.address] = now.Add(-one.response.clockSkew(one.requestedAt, now) - usagePollOverlap)
	}
	clear(since)
	maps.Copy(since, next)
	due = p.dueKeys(ctx, now)
	return due, quiet && !p.usage.pending(), nil
}

// dueKeys returns the keys whose uses are to be written now.
func (p *verifierPoller) dueKeys(ctx context.Context, now time.Time) []types.NamespacedName {
	var list []types.NamespacedName
	for uid, name := range p.usage.keys() {
		var k v1alpha1.APIKey
		err := p.Get(ctx, name, &k, client.UnsafeDisableDeepCopy)
		if client.IgnoreNotFound(err) == nil && p.usage.isDue(&k, uid, now) {
			list = append(list, name)
		}
	}
	return list
}

// pollPropagation polls the verifiers once for the disabled keys, and reports whether to poll again soon.
func (p *verifierPoller) pollPropagation(ctx context.Context) bool {
	changed, inProgress, err := p.pollPropagationOnce(ctx)
	if err != nil && ctx.Err() == nil {
		log.FromContext(ctx).Error(err, "Could not poll the verifiers for disabled keys")
		inProgress = true
	}
	enqueue(ctx, p.enqueueCh, changed...)
	return inProgress
}

// pollPropagationOnce polls all replicas once for which of the disabled keys they refuse. It returns the keys whose status has to be
// written, and reports whether to poll again soon.
func (p *verifierPoller) pollPropagationOnce(ctx context.Context) (changed []types.NamespacedName, inProgress bool, err error) {
	versions, references := p.propagation.unconfirmed()
	if len(versions) == 0 {
		return nil, false, nil
	}
	request := func(*replica) UsageRequest { return UsageRequest{Refused: references} }
	live, err := p.verifiers.poll(ctx, p, propagationPollTimeout, request, func(*replica) {})
	if err != nil {
		return nil, false, err
	}
	for _, one := range live {
		if one.err != nil {
			log.FromContext(ctx).V(1).Info("Could not poll a verifier for disabled keys", "address", one.address, "cause", one.err.Error())
		}
	}
	changed, inProgress = p.propagation.evaluate(versions, states(live))
	if len(versions) == maxKeysPerPoll && len(changed) > 0 { // there may be more keys to poll for
		p.propagation.triggered.fire()
	}
	return changed, inProgress, nil
}
