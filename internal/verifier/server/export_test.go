// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

// CloseListener breaks a face, for tests of what happens then.
func (s *Server) CloseListener(flag string) {
	for _, l := range s.listeners {
		if l.flag == flag {
			_ = l.Close()
		}
	}
}

// Redact is redact, for a table and a fuzz target of its own.
var Redact = redact
