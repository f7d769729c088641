// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import "errors"

// PublicError is an error with a message that is safe to publish in a condition: it holds no key material and nothing
// that changes between retries.
type PublicError struct {
	// Message states what failed.
	Message string
	// Err holds the cause, for logs.
	Err error
}

// Error implements error.
func (e *PublicError) Error() string { return e.Message + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *PublicError) Unwrap() error { return e.Err }

// PublicMessage returns the part of err that is safe to publish in a condition.
func PublicMessage(err error) string {
	if public, ok := errors.AsType[*PublicError](err); ok {
		return public.Message
	}
	return "Reconciliation failed: see the log of the manager"
}
