// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"sync"
	"sync/atomic"
)

// completeness says whether everything that exists is in an index, so that verdicts are given.
type completeness struct {
	complete atomic.Bool

	changeMu sync.Mutex
	// changed is closed at the next change.
	changed chan struct{}
}

func newCompleteness() completeness { return completeness{changed: make(chan struct{})} }

// SetComplete lets verdicts begin: everything that exists is in the index.
func (c *completeness) SetComplete() { c.set(true) }

// SetIncomplete ends verdicts: what is in the index can't be relied on.
func (c *completeness) SetIncomplete() { c.set(false) }

func (c *completeness) set(complete bool) {
	c.changeMu.Lock()
	defer c.changeMu.Unlock()
	if c.complete.Swap(complete) != complete {
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// Complete reports whether verdicts are given.
func (c *completeness) Complete() bool { return c.complete.Load() }

// Completeness reports whether verdicts are given, and returns a channel that is closed when that changes.
func (c *completeness) Completeness() (complete bool, changed <-chan struct{}) {
	c.changeMu.Lock()
	defer c.changeMu.Unlock()
	return c.complete.Load(), c.changed
}
