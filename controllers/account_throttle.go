// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"maps"
	"sync"
	"time"
)

const (
	// writeIntervalPerSlot is the time between two writes of an account's status, for each of its slots. A write sends all
	// slots to the store and to every watch, so that the keys of a large account must share it.
	writeIntervalPerSlot = time.Millisecond
	// roundIntervalPerKey is the time between two rounds of an account, for each of its keys. A round checks all keys that
	// wait for a slot, of which there may be any number.
	roundIntervalPerKey = 20 * time.Microsecond
)

// accountThrottle limits how often the status of an account is calculated and written, in proportion to the work. The
// first round after a pause is not delayed, and small accounts never are. The zero value is ready to use.
type accountThrottle struct {
	mu   sync.Mutex
	next map[string]time.Time
	// sweepSize is the number of entries at which those that are over are dropped.
	sweepSize int
}

// wait returns how long the next round of an account has to wait.
func (t *accountThrottle) wait(account string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(0, t.next[account].Sub(now))
}

// finish records a round of an account that has read a number of keys, and written a number of slots. An interval that is
// not longer than admissionWindow is not recorded, because each change of a key waits for that long already.
func (t *accountThrottle) finish(account string, now time.Time, read, written int) {
	interval := max(time.Duration(written)*writeIntervalPerSlot, time.Duration(read)*roundIntervalPerKey)
	t.mu.Lock()
	defer t.mu.Unlock()
	if interval <= admissionWindow {
		delete(t.next, account)
		return
	}
	if len(t.next) >= max(t.sweepSize, minSweepSize) {
		maps.DeleteFunc(t.next, func(_ string, next time.Time) bool { return !now.Before(next) })
		t.sweepSize = 2 * len(t.next)
	}
	if t.next == nil {
		t.next = map[string]time.Time{}
	}
	t.next[account] = now.Add(interval)
}
