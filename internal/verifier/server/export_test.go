// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

// CloseListener closes a listener to simulate a failure.
func (s *Server) CloseListener(flag string) {
	for _, l := range s.listeners {
		if l.flag == flag {
			_ = l.Close()
		}
	}
}

// Redact exports redact for tests.
var Redact = redact
