// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import "fmt"

// keysDone returns a function that shows on a terminal how many keys a command has processed, if their total is unknown.
func (e *environment) keysDone(done string) func(keys int) {
	if _, isTerminal := terminalOf(e.ErrOut); !isTerminal {
		return func(int) {}
	}
	return func(keys int) {
		if keys%pageSize == 0 {
			fmt.Fprintf(e.ErrOut, "%s %d keys\n", done, keys)
		}
	}
}
