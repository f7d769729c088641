// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package keys is the head of apikey-manager: every rule about keys, and nothing but rules.
//
// It is pure: it reads facts and returns plans and statuses. It imports no client, no clock and no context; the time
// comes in as Facts.Now, randomness as an io.Reader. Whoever acts on what it says lives in controllers, the webhook and
// the verifier.
//
//	Validate   what is wrong with a spec, taken alone
//	Refuse     what an account's policy has against a key
//	Admit      which keys of an account hold a slot
//	Decide     which steps bring the world closer to the spec
//	Describe   what is true now
package keys
