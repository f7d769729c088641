// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// probeInterval and probeJitter make the syncer ask for the current resourceVersion every 10 to 15 seconds.
	probeInterval = 10 * time.Second
	probeJitter   = 0.5
	// probeRetry is the interval while probes fail. It is short, so that a rollback is detected before the store
	// passes the resourceVersion from before the rollback.
	probeRetry   = time.Second
	probeTimeout = 5 * time.Second
)

// connection tracks the watch of one kind. The watch works while it is open and probes succeed: an open watch may hang
// without an error.
type connection struct {
	mu sync.Mutex
	// isOpen reports whether a watch is open, probeFailed whether the last probe failed.
	isOpen, probeFailed bool
	// unreachable reports whether the API server was unreachable at any time since the last list.
	unreachable bool
	// disconnectedSince holds the time since which the watch has not worked. It is nil while the watch works, and
	// before it first worked.
	disconnectedSince *time.Time
}

// markOpen records that a watch was opened.
func (c *connection) markOpen(now time.Time) { c.update(now, func() { c.isOpen = true }) }

// markClosed records that a watch ended.
func (c *connection) markClosed(now time.Time) { c.update(now, func() { c.isOpen = false }) }

// markFailed records that a list or watch request failed.
func (c *connection) markFailed(now time.Time, err error) {
	c.update(now, func() {
		c.isOpen = false
		c.unreachable = c.unreachable || !apierrors.IsTooManyRequests(err)
	})
}

// recordProbe records the result of a probe.
func (c *connection) recordProbe(now time.Time, err error) {
	c.update(now, func() { c.probeFailed = err != nil })
}

func (c *connection) update(now time.Time, change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	switch works := c.isOpen && !c.probeFailed; {
	case works:
		c.disconnectedSince = nil
	case c.disconnectedSince == nil:
		c.disconnectedSince = &now
	}
}

// recordList records a list, which contains all changes up to now.
func (c *connection) recordList(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unreachable, c.probeFailed = false, false
	switch {
	case c.isOpen:
		c.disconnectedSince = nil
	case c.disconnectedSince != nil:
		c.disconnectedSince = &now
	}
}

func (c *connection) wasUnreachable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unreachable
}

func (c *connection) isProbeFailing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.probeFailed
}

func (c *connection) age(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.disconnectedSince == nil {
		return 0
	}
	return now.Sub(*c.disconnectedSince)
}

// probeRegularly probes the API server until ctx is done.
func (k *kindSyncer) probeRegularly(ctx context.Context) {
	for {
		interval := probeInterval
		if k.connection.isProbeFailing() {
			interval = probeRetry
		}
		timer := k.clock.NewTimer(wait.Jitter(interval, probeJitter))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
			k.probe(ctx)
		}
	}
}

// probe asks the API server for its current resourceVersion with a read that its store answers. A resourceVersion below
// one that was observed before means that the store was rolled back.
//
// An error that a resourceVersion is too large does not mean that: one of several API servers may have just started and
// be behind for a moment.
func (k *kindSyncer) probe(ctx context.Context) {
	before := k.newest.load() // versions that are observed during the probe may be newer than its response
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(k.listKind)
	limited, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := k.source.List(limited, list, client.Limit(1))
	if ctx.Err() != nil {
		return
	}
	k.connection.recordProbe(k.clock.Now(), err)
	if err != nil {
		return
	}
	if before != nil && isEarlier(list.ResourceVersion, *before) {
		k.onRollback(k, *before, list.ResourceVersion)
		return
	}
	k.newest.observe(list.ResourceVersion)
	k.checkSentinel(ctx)
}

// newestVersion holds the newest resourceVersion that was observed.
type newestVersion struct {
	mu      sync.Mutex
	version *string
}

func (n *newestVersion) observe(version string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.version == nil || isEarlier(*n.version, version) {
		n.version = &version
	}
}

// load returns the newest resourceVersion, or nil if none was observed.
func (n *newestVersion) load() *string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.version
}

func (n *newestVersion) reset() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.version = nil
}

// isEarlier reports whether a resourceVersion is lower than another one. Versions that are not numbers cannot be
// compared.
func isEarlier(version, than string) bool {
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && order < 0
}
