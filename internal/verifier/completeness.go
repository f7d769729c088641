// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"sync"
	"sync/atomic"
)

// completeness records whether an index holds all existing objects, which verdicts require.
type completeness struct {
	complete atomic.Bool

	changeMu sync.Mutex
	// changed is closed at the next change.
	changed chan struct{}
	// onChange is called after each change. It may be nil.
	onChange func()
}

func newCompleteness() completeness { return completeness{changed: make(chan struct{})} }

// SetComplete enables verdicts: the index holds all existing objects.
func (c *completeness) SetComplete() { c.set(true) }

// SetIncomplete disables verdicts: the index may be missing objects or changes.
func (c *completeness) SetIncomplete() { c.set(false) }

func (c *completeness) set(complete bool) {
	if c.swap(complete) && c.onChange != nil {
		c.onChange()
	}
}

// swap sets whether the index is complete, and reports whether that changed.
func (c *completeness) swap(complete bool) (changed bool) {
	c.changeMu.Lock()
	defer c.changeMu.Unlock()
	if c.complete.Swap(complete) == complete {
		return false
	}
	close(c.changed)
	c.changed = make(chan struct{})
	return true
}

// Complete reports whether verdicts are enabled.
func (c *completeness) Complete() bool { return c.complete.Load() }

// Completeness reports whether verdicts are enabled, and returns a channel that is closed when that changes.
func (c *completeness) Completeness() (complete bool, changed <-chan struct{}) {
	c.changeMu.Lock()
	defer c.changeMu.Unlock()
	return c.complete.Load(), c.changed
}
