// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"sync/atomic"
	"time"
)

// usageCounters is how a credential was used since this process started. It is written by many at once, without a lock.
type usageCounters struct {
	// accepted counts verdicts VALID; refused those of each other code from Revoked on.
	accepted atomic.Uint64
	refused  [Valid - Revoked]atomic.Uint32
	// lastAccepted and lastRefused are minutes since the Unix epoch, by the clock as it was then; 0: never.
	lastAccepted, lastRefused atomic.Uint32
}

func (u *usageCounters) record(code Code, now int64) {
	minute := uint32(now / 60) //nolint:gosec // minutes since 1970 fit until the year 10136
	if code == Valid {
		u.accepted.Add(1)
		storeMinute(&u.lastAccepted, minute)
		return
	}
	u.refused[code-Revoked].Add(1)
	storeMinute(&u.lastRefused, minute)
}

// storeMinute writes only once a minute, so that many cores can use one key without waiting for each other.
func storeMinute(last *atomic.Uint32, minute uint32) {
	if last.Load() != minute {
		last.Store(minute)
	}
}

// clampMinute is the minute of a last use. One that lies ahead is from before the clock was set back: it is taken to be of
// this minute, once.
func clampMinute(last *atomic.Uint32, now uint32) uint32 {
	minute := last.Load()
	if minute > now && last.CompareAndSwap(minute, now) {
		return now
	}
	return min(minute, now)
}

func unixMinute(t time.Time) uint32 {
	return uint32(max(0, t.Unix()/60)) //nolint:gosec // not negative, and see record
}

func (u *usageCounters) counts() map[string]uint64 {
	counts := map[string]uint64{}
	if n := u.accepted.Load(); n > 0 {
		counts[Valid.String()] = n
	}
	for i := range u.refused {
		if n := u.refused[i].Load(); n > 0 {
			counts[(Revoked + Code(i)).String()] = uint64(n)
		}
	}
	return counts
}

func minuteTime(minute uint32) *time.Time {
	if minute == 0 {
		return nil
	}
	t := time.Unix(int64(minute)*60, 0).UTC()
	return &t
}
