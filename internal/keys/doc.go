// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package keys implements the rules for API keys and accounts: which keys are valid, which of them hold a slot, what has to be
// changed in the cluster, and what their statuses say.
//
// Its functions are pure: they compute plans and statuses from facts. The package imports no client, no clock and no context.
// The time is passed in as Facts.Now, and randomness as an io.Reader. The controllers, the webhook and the verifier observe the
// facts and act on the results.
//
//	ValidateAPIKey   returns the errors of a spec, without regard to its account
//	CheckPolicy      returns the first violation of an account's policy by a key
//	Admit            returns the keys of an account that hold a slot, and those that wait for one
//	Decide           returns the steps that bring the cluster closer to the spec
//	Apply            returns the credentials that a Secret holds after a step
//	Describe         returns the status of a key
//	NextCheck        returns when the passage of time changes the result of Decide or Describe
//	Events           returns the changes of a key that are reported as Events and in its history
package keys
