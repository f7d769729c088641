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
	// probeInterval and probeJitter have the API server asked for its resourceVersion every 10 to 15 seconds.
	probeInterval = 10 * time.Second
	probeJitter   = 0.5
	// probeRetry is the interval while probes fail: the API server has to be asked as soon as it is back, before its
	// store comes past the resourceVersion at which it was put back.
	probeRetry   = time.Second
	probeTimeout = 5 * time.Second
)

// connection is what is known of the watch of one kind. It works while the watch is open and probes succeed: a watch alone
// may hang without an error.
type connection struct {
	mu sync.Mutex
	// isOpen reports whether there is a watch, probeFailed whether the last probe failed.
	isOpen, probeFailed bool
	// unreachable reports whether the API server could not be reached since the last list.
	unreachable bool
	// disconnectedSince is since when the connection does not work; nil: it does, or never did.
	disconnectedSince *time.Time
}

// markOpen takes note of a watch that was started.
func (c *connection) markOpen(now time.Time) { c.update(now, func() { c.isOpen = true }) }

// markClosed takes note of a watch that ended.
func (c *connection) markClosed(now time.Time) { c.update(now, func() { c.isOpen = false }) }

// markFailed takes note of a list or a watch that could not be started.
func (c *connection) markFailed(now time.Time, err error) {
	c.update(now, func() {
		c.isOpen = false
		c.unreachable = c.unreachable || !apierrors.IsTooManyRequests(err)
	})
}

// recordProbe takes note of a probe.
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

// recordList takes note of a list: what was not reported until now is in it.
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

// probeRegularly asks the API server for its resourceVersion until the context ends.
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

// probe asks the API server for its resourceVersion, by a read that its store answers. One below what it named before
// means that the store was put back to an earlier state.
//
// An error that a resourceVersion is too large means nothing of the kind: an API server that has just started, beside
// others, may be behind for a moment.
func (k *kindSyncer) probe(ctx context.Context) {
	before := k.newest.load() // what is observed while the probe is under way may be newer than its answer
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

// newestVersion is the newest resourceVersion that was observed.
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

// load returns the newest resourceVersion; nil: none was observed.
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

// isEarlier reports whether one resourceVersion is below another one. Those that are not numbers can't be compared.
func isEarlier(version, than string) bool {
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && order < 0
}
