// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/usage"
)

// usageTracker keeps the uses of keys that verifiers reported until they are in the statuses of the keys.
type usageTracker struct {
	clock clock.PassiveClock

	mu     sync.Mutex
	ledger *usage.Ledger
}

func newUsageTracker(now clock.PassiveClock) *usageTracker {
	return &usageTracker{clock: now, ledger: usage.NewLedger(now.Now())}
}

// reset starts with an empty ledger. The manager that led before may have written uses a moment ago.
func (t *usageTracker) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ledger = usage.NewLedger(t.clock.Now())
}

// observe records the report of a replica, and drops the list of uses from the response, which may be long.
func (t *usageTracker) observe(one *replica) {
	now := t.clock.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ledger.Observe(now, one.response.clockSkew(one.requestedAt, now), one.response.Report)
	one.used, one.response.Keys = len(one.response.Keys) > 0, nil
}

// pending reports whether there are uses that the statuses of keys may lack.
func (t *usageTracker) pending() bool { return len(t.keys()) > 0 }

// keys returns the keys with uses that their statuses may lack, by UID.
func (t *usageTracker) keys() map[types.UID]types.NamespacedName {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ledger.Keys()
}

// isDue reports whether the uses of the key with a UID are to be written now. k is the key of that name, which may have
// replaced the one that was used.
func (t *usageTracker) isDue(k *v1alpha1.APIKey, uid types.UID, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k.UID != uid {
		t.ledger.Forget(uid)
		return false
	}
	t.ledger.Prune(k)
	_, due := t.ledger.Record(k, now)
	return due
}

// apply adds the uses of a key to its status, and reports whether it added any. Uses that are not due yet are left out.
func (t *usageTracker) apply(k *v1alpha1.APIKey, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	status, due := t.ledger.Record(k, now)
	if due {
		k.Status = status
	}
	return due
}

// markWritten drops the uses that are in the status of a key. written reports whether they were added to it at now.
func (t *usageTracker) markWritten(k *v1alpha1.APIKey, written bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if written {
		t.ledger.MarkWritten(k.UID, now)
	}
	t.ledger.Prune(k)
}

// forget drops the uses of a key that no longer exists.
func (t *usageTracker) forget(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ledger.Forget(uid)
}
