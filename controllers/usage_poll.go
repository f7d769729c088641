// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

const (
	// usagePollTimeout is how long one replica may take to tell of all uses.
	usagePollTimeout = 20 * time.Second
	// usagePollOverlap is how far each question goes back before the last answer: uses are told to the minute.
	usagePollOverlap = 2 * time.Minute
)

// pollUsage asks for the uses of keys from time to time.
func (r *UsageReconciler) pollUsage(ctx context.Context) {
	ticker := time.NewTicker(r.Verifiers.PollInterval)
	defer ticker.Stop()
	asked := map[string]time.Time{}
	for {
		due, err := r.collectUsage(ctx, asked)
		if err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "Could not ask for the uses of keys")
		}
		enqueue(ctx, r.enqueueCh, due...)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// collectUsage asks all replicas, and returns the keys to write. What a replica was last asked is remembered by its own
// clock, by which it picks its answer.
func (r *UsageReconciler) collectUsage(ctx context.Context, asked map[string]time.Time) ([]types.NamespacedName, error) {
	live, err := r.Verifiers.poll(ctx, r, usagePollTimeout, func(one *replica) UsageRequest {
		one.requestedAt = r.Clock.Now()
		return UsageRequest{IncludeUsage: true, Since: asked[one.address]}
	}, r.observeResponse)
	if err != nil {
		return nil, err
	}
	now, answered := r.Clock.Now(), map[string]time.Time{}
	for _, one := range live {
		if one.err != nil {
			log.FromContext(ctx).Info("Could not ask a verifier for the uses of keys", "address", one.address, "cause", one.err.Error())
			answered[one.address] = asked[one.address]
			continue
		}
		answered[one.address] = now.Add(-one.response.clockSkew(one.requestedAt, now) - usagePollOverlap)
	}
	clear(asked)
	maps.Copy(asked, answered)
	return r.dueKeys(ctx, now), nil
}

// observeResponse enters what a replica reported, and keeps no more of its answer than is needed: answers are long.
func (r *UsageReconciler) observeResponse(one *replica) {
	now := r.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.Observe(now, one.response.clockSkew(one.requestedAt, now), one.response.Report)
	one.response.Keys = nil
}

// dueKeys are the keys whose uses are to be written now. What stands in a status already, and what was said of keys that
// are no more, is forgotten.
func (r *UsageReconciler) dueKeys(ctx context.Context, now time.Time) []types.NamespacedName {
	r.mu.Lock()
	all := r.ledger.Keys()
	r.mu.Unlock()
	var list []types.NamespacedName
	for uid, name := range all {
		var k v1alpha1.APIKey
		err := r.Get(ctx, name, &k, client.UnsafeDisableDeepCopy)
		if client.IgnoreNotFound(err) == nil && r.isDue(&k, uid, now) {
			list = append(list, name)
		}
	}
	return list
}

// isDue is whether a key's uses are to be written now. Of a key that does not exist, or that took the place of the one that
// was used, there is nothing to write.
func (r *UsageReconciler) isDue(k *v1alpha1.APIKey, uid types.UID, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k.UID != uid {
		r.ledger.Forget(uid)
		return false
	}
	r.ledger.Prune(k)
	_, due := r.ledger.Record(k, now)
	return due
}
