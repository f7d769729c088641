// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// repairs holds recent repairs of Secrets by the UID of their key. The zero value is ready to use.
type repairs struct {
	mu    sync.Mutex
	byKey map[types.UID]keys.Repairs
	// sweepSize is the number of entries at which idle entries are dropped.
	sweepSize int
}

const minSweepSize = 64

// get returns the recent repairs of the Secret of a key.
func (r *repairs) get(k *v1alpha1.APIKey, now time.Time) keys.Repairs {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.byKey[k.UID]; ok {
		return known.Of(k)
	}
	return keys.ResumeRepairs(k, now)
}

// put stores the repairs of the Secret of a key, if there are any.
func (r *repairs) put(k *v1alpha1.APIKey, happened keys.Repairs, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if happened.Idle(now) {
		delete(r.byKey, k.UID)
		return
	}
	if len(r.byKey) >= max(r.sweepSize, minSweepSize) {
		maps.DeleteFunc(r.byKey, func(_ types.UID, other keys.Repairs) bool { return other.Idle(now) })
		r.sweepSize = 2 * len(r.byKey)
	}
	if r.byKey == nil {
		r.byKey = map[types.UID]keys.Repairs{}
	}
	r.byKey[k.UID] = happened
}
