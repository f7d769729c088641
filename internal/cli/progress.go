// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strconv"
	"time"
)

// reportDelay is how long a command works before it reports its progress, and between two reports.
const reportDelay = 2 * time.Second

// unknownTotal is the total of keys that a command reads page by page.
const unknownTotal = 0

// progress returns a function that reports how many keys a command has processed, if that takes long.
func (e *environment) progress(done string, total int) func(processed int) {
	last, of := e.clock.Now(), ""
	if total != unknownTotal {
		of = " of " + strconv.Itoa(total)
	}
	return func(processed int) {
		if e.clock.Since(last) > reportDelay {
			last = e.clock.Now()
			e.notef("%d%s keys %s", processed, of, done)
		}
	}
}
