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
	// staleWait gives a lagging cache time to catch up.
	staleWait = 100 * time.Millisecond
	// longestWait lets a clock that jumped, or a watch event that got lost, heal within the hour.
	longestWait = time.Hour
	// shortestWait keeps a time that has just passed from becoming "never", which is what zero means.
	shortestWait = 10 * time.Millisecond
)

// wait is how long to sleep until next; zero next: until the healing round. A deadline is kept to the instant; only
// the healing round is spread out, by up to ten per cent, so that keys do not all come at once.
func wait(next, now time.Time) time.Duration {
	if d := next.Sub(now); !next.IsZero() && d < longestWait {
		return max(d, shortestWait)
	}
	spread := maphash.Comparable(jitterSeed, now.UnixNano()) % uint64(longestWait/10)
	return longestWait - time.Duration(spread)
}

// jitterSeed spreads the healing rounds; it protects nothing.
var jitterSeed = maphash.MakeSeed()

// stale is whether an error only says that the facts of a round were no longer true.
func stale(err error) bool {
	return errors.Is(err, errStale) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}
