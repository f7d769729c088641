// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// writtenKeyTimeout is how long a reconciliation waits for the cache to contain a status that this process wrote.
const writtenKeyTimeout = 10 * time.Second

// writtenKeys holds the versions of the keys whose status this process wrote, until the cache contains them. A reconciliation that is
// based on an earlier version would read the Secret and write a status in vain: the change of a Secret that a rotation writes often
// arrives before the status. The zero value is ready to use.
type writtenKeys struct {
	mu     sync.Mutex
	byKey  map[types.UID]writtenKey
	pruned time.Time
}

type writtenKey struct {
	version string
	at      time.Time
}

// put stores the version of a key that was just written.
func (w *writtenKeys) put(key *v1alpha1.APIKey, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byKey == nil {
		w.byKey = map[types.UID]writtenKey{}
	}
	if now.Sub(w.pruned) > writtenKeyTimeout { // the watch may have been faster than the response of a write
		for uid, written := range w.byKey {
			if now.Sub(written.at) > writtenKeyTimeout {
				delete(w.byKey, uid)
			}
		}
		w.pruned = now
	}
	w.byKey[key.UID] = writtenKey{version: key.ResourceVersion, at: now}
}

// isAhead reports whether this process wrote a later version of a key a short time ago.
func (w *writtenKeys) isAhead(key *v1alpha1.APIKey, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	written, ok := w.byKey[key.UID]
	if !ok {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(key.ResourceVersion, written.version)
	if err == nil && order < 0 && now.Sub(written.at) <= writtenKeyTimeout {
		return true
	}
	delete(w.byKey, key.UID)
	return false
}

// observe drops the version of a key if the cache contains it.
func (w *writtenKeys) observe(key *v1alpha1.APIKey, now time.Time) { w.isAhead(key, now) }

// drop drops the version of a key that no longer exists.
func (w *writtenKeys) drop(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.byKey, uid)
}
