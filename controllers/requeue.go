// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"hash/maphash"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// staleRequeueAfter is the delay of a retry that waits for a lagging cache.
	staleRequeueAfter = 100 * time.Millisecond
	// maxRequeueAfter is the longest delay, so that a key recovers within an hour from a changed clock or a lost watch
	// event.
	maxRequeueAfter = time.Hour
	// minRequeueAfter is the delay for a time that has just passed: a delay of zero would mean no requeue.
	minRequeueAfter = 10 * time.Millisecond
)

// requeueAfter returns the delay until next, or until the periodic reconciliation if that is earlier or next is zero.
// A deadline is met exactly; only periodic reconciliations are spread by up to ten per cent, so that keys are not all
// reconciled at once.
func requeueAfter(next, now time.Time) time.Duration {
	if d := next.Sub(now); !next.IsZero() && d < maxRequeueAfter {
		return max(d, minRequeueAfter)
	}
	spread := maphash.Comparable(jitterSeed, now.UnixNano()) % uint64(maxRequeueAfter/10)
	return maxRequeueAfter - time.Duration(spread)
}

// jitterSeed spreads the periodic reconciliations. It need not be secret.
var jitterSeed = maphash.MakeSeed()

// isStale reports whether an error only means that the facts of a reconciliation are out of date.
func isStale(err error) bool {
	return errors.Is(err, errStaleFacts) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}
