// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"sync/atomic"
	"time"
)

// When a record replaces another one, the counters of the other one are frozen first, so that each verdict counts exactly
// once: see takeCounters.
const (
	frozen64 = 1 << 63
	frozen32 = 1 << 31
	// maxRefused is where a counter of refusals stops. It leaves room for verdicts that are counted at the same time.
	maxRefused = frozen32 - 1<<16
)

// record counts a verdict on the credential. It returns false if another record of the same key replaces this one, which
// then counts the verdict.
func (c *credential) record(code Code, now int64) (counted bool) {
	minute := uint32(now/60) &^ frozen32 //nolint:gosec // minutes since 1970 fit into 31 bits until the year 6053
	if code == Valid {
		return storeMinute(&c.lastAccepted, minute) && c.accepted.Add(1)&frozen64 == 0
	}
	return storeMinute(&c.lastRefused, minute) && increment(&c.refused[code-Revoked])
}

// increment increments a counter of refusals unless it is frozen.
func increment(counter *atomic.Uint32) bool {
	if n := counter.Load(); n >= maxRefused {
		return n&frozen32 == 0
	}
	return counter.Add(1)&frozen32 == 0
}

// storeMinute stores a minute unless it is frozen. It writes at most once a minute, so that many cores can use one key
// without contention.
func storeMinute(last *atomic.Uint32, minute uint32) bool {
	for {
		before := last.Load()
		switch {
		case before == minute:
			return true
		case before&frozen32 != 0:
			return false
		case last.CompareAndSwap(before, minute):
			return true
		}
	}
}

// takeCounters freezes the counters of the same credential in another record, and continues from their values.
func (c *credential) takeCounters(before *credential) {
	c.accepted.Store(before.accepted.Or(frozen64) &^ frozen64)
	for i := range c.refused {
		c.refused[i].Store(before.refused[i].Or(frozen32) &^ frozen32)
	}
	c.lastAccepted.Store(before.lastAccepted.Or(frozen32) &^ frozen32)
	c.lastRefused.Store(before.lastRefused.Or(frozen32) &^ frozen32)
}

// clampMinute returns the minute of the last use. A value in the future was written before the clock was set back: it
// is replaced by the current minute once.
func clampMinute(last *atomic.Uint32, now uint32) uint32 {
	minute := last.Load() &^ frozen32
	if minute > now && last.CompareAndSwap(minute, now) {
		return now
	}
	return min(minute, now)
}

func unixMinute(t time.Time) uint32 {
	return uint32(max(0, t.Unix()/60)) //nolint:gosec // not negative, and see record
}

// counts returns the number of verdicts by name of the code. Codes without a verdict are omitted.
func (c *credential) counts() map[string]uint64 {
	counts := map[string]uint64{}
	if n := c.accepted.Load() &^ frozen64; n > 0 {
		counts[Valid.String()] = n
	}
	for i := range c.refused {
		if n := c.refused[i].Load() &^ frozen32; n > 0 {
			counts[(Revoked + Code(i)).String()] = uint64(n)
		}
	}
	return counts
}

// minuteTime returns the start of a minute, or nil for zero.
func minuteTime(minute uint32) *time.Time {
	if minute == 0 {
		return nil
	}
	t := time.Unix(int64(minute)*60, 0).UTC()
	return &t
}
