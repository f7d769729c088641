// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// newKeyTimeout is how long a key without a status is remembered, in case that its deletion was missed.
const newKeyTimeout = time.Hour

// newKeys holds the keys without a status, with the time at which this process first reconciled them. The age of a key does not say
// how long it has waited for its account: while thousands are created at once, it waits for its first reconciliation, too. The zero
// value is ready to use.
type newKeys struct {
	mu     sync.Mutex
	byKey  map[types.UID]time.Time
	pruned time.Time
}

// firstSeen returns when this process first reconciled a key without a status. It is zero for a key that has a status.
func (n *newKeys) firstSeen(key *v1alpha1.APIKey, now time.Time) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	if key.Status.State != "" {
		n.remove(key.UID)
		return time.Time{}
	}
	if at, ok := n.byKey[key.UID]; ok {
		return at
	}
	n.prune(now)
	if n.byKey == nil {
		n.byKey = map[types.UID]time.Time{}
	}
	n.byKey[key.UID] = now
	return now
}

// prune drops keys that have been here for too long: a reconciliation that was in progress while its key was deleted may add it
// again.
func (n *newKeys) prune(now time.Time) {
	if now.Sub(n.pruned) < newKeyTimeout {
		return
	}
	maps.DeleteFunc(n.byKey, func(_ types.UID, at time.Time) bool { return now.Sub(at) >= newKeyTimeout })
	n.pruned = now
}

// drop forgets a key that has a status, or no longer exists.
func (n *newKeys) drop(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.remove(uid)
}

// remove forgets a key, and releases the memory of the map when it was the last.
func (n *newKeys) remove(uid types.UID) {
	delete(n.byKey, uid)
	if len(n.byKey) == 0 {
		n.byKey = nil
	}
}
