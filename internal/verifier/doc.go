// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package verifier is the door: it says whether a request's key is good. It keeps the digests of all keys in memory, as
// the API server's watches tell of them, and decides by its own clock: what a person tightens in a spec, and an expiry,
// hold while the manager is away and while the API server is. What a person loosens holds once the manager has accepted
// it. It reads no Secret, and never sees a key but in the request it is asked about.
//
// Finder finds the key in a request, Clients finds who sent it, Index knows the keys, and Index.Decide gives the Verdict.
// The package internal/verifier/server puts them on the network.
package verifier
