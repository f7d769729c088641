// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"sync/atomic"
	"time"
)

// usageCounters counts the verdicts on a credential since the start of this process. Concurrent requests update it
// without a lock.
type usageCounters struct {
	// accepted counts verdicts with the code VALID, refused those with each other code from Revoked on.
	accepted atomic.Uint64
	refused  [Valid - Revoked]atomic.Uint32
	// lastAccepted and lastRefused hold the minute of the last such verdict since the Unix epoch. Zero means never.
	lastAccepted, lastRefused atomic.Uint32
}

func (u *usageCounters) record(code Code, now int64) {
	minute := uint32(now / 60) //nolint:gosec // minutes since 1970 fit into 32 bits until the year 10136
	if code == Valid {
		u.accepted.Add(1)
		storeMinute(&u.lastAccepted, minute)
		return
	}
	u.refused[code-Revoked].Add(1)
	storeMinute(&u.lastRefused, minute)
}

// storeMinute writes at most once a minute, so that many cores can use one key without contention.
func storeMinute(last *atomic.Uint32, minute uint32) {
	if last.Load() != minute {
		last.Store(minute)
	}
}

// clampMinute returns the minute of the last use. A value in the future was written before the clock was set back: it
// is replaced by the current minute once.
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

// counts returns the number of verdicts by name of the code. Codes without a verdict are omitted.
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

// minuteTime returns the start of a minute, or nil for zero.
func minuteTime(minute uint32) *time.Time {
	if minute == 0 {
		return nil
	}
	t := time.Unix(int64(minute)*60, 0).UTC()
	return &t
}
