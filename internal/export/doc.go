// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package export implements the rules for KeyExports: which credentials an export holds, what their entries look like, and which
// objects hold the entries.
//
// Its functions are pure, like those of package keys: they read API objects and return what to write. The controller observes
// the objects and performs the writes.
//
//	Compile   checks the spec of a KeyExport and prepares it for use
//	Evaluate  returns the credentials of a key that an export may hold now
//	Render    returns the entry of a credential
//	Place     returns the writes that make the objects hold exactly the given entries
//	Identify  finds out which credentials the objects hold
//	Describe  returns the status of a KeyExport
package export
