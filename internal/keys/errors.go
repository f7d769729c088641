// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import "errors"

// PublicError is an error with a sentence that may be shown in a status: no material, and nothing that varies from one try to
// the next.
type PublicError struct {
	// Message says what could not be done.
	Message string
	// Err is the cause, for logs.
	Err error
}

// Error implements error.
func (e *PublicError) Error() string { return e.Message + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *PublicError) Unwrap() error { return e.Err }

// PublicMessage is what of an error may be shown in a status.
func PublicMessage(err error) string {
	if public, ok := errors.AsType[*PublicError](err); ok {
		return public.Message
	}
	return "The manager met an error; its log has the details"
}
