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
	// staleRequeueAfter gives a lagging cache time to catch up.
	staleRequeueAfter = 100 * time.Millisecond
	// maxRequeueAfter lets a clock that jumped, or a watch event that got lost, heal within the hour.
	maxRequeueAfter = time.Hour
	// minRequeueAfter keeps a time that has just passed from becoming "never", which is what zero means.
	minRequeueAfter = 10 * time.Millisecond
)

// requeueAfter is how long to sleep until next; zero next: until the healing round. A deadline is kept to the instant; only
// the healing round is spread out, by up to ten per cent, so that keys do not all come at once.
func requeueAfter(next, now time.Time) time.Duration {
	if d := next.Sub(now); !next.IsZero() && d < maxRequeueAfter {
		return max(d, minRequeueAfter)
	}
	spread := maphash.Comparable(jitterSeed, now.UnixNano()) % uint64(maxRequeueAfter/10)
	return maxRequeueAfter - time.Duration(spread)
}

// jitterSeed spreads the healing rounds; it protects nothing.
var jitterSeed = maphash.MakeSeed()

// isStale is whether an error only says that the facts of a round were no longer true.
func isStale(err error) bool {
	return errors.Is(err, errStaleFacts) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}
