// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strings"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// Requirements holds what a route requires of a key. Requirements are cumulative: a client that manages to add one only
// restricts its own request. The exception is preflight, which is read only from places that the client cannot write.
type Requirements struct {
	// firstScopes and moreScopes hold the scopes that the key must have, separated by commas: those of the first requirement,
	// and those of all others.
	firstScopes string
	moreScopes  []byte
	// account holds the name, and externalID the external ID, of the only account that is accepted. If empty, any
	// account is accepted.
	account, externalID string
	// preflight reports whether a CORS preflight is allowed without a key.
	preflight bool
	// malformed reports whether a requirement has an empty value, such as account= or scopes=, most likely because a
	// variable of the gateway was not set. account is then unmatchable, so that no key meets the requirements.
	malformed bool
	// unknown holds the names that are not requirements.
	unknown []string
}

// unmatchableAccount exceeds the length of any name or external ID of an account.
var unmatchableAccount = strings.Repeat("-", 1024)

// add adds a requirement.
func (r *Requirements) add(name, value string) {
	switch name {
	case "scopes":
		r.malformed = r.malformed || !hasScope(value)
		if r.firstScopes == "" {
			r.firstScopes = value
			break
		}
		r.moreScopes = append(append(r.moreScopes, ','), value...)
	case "account":
		r.account = r.requireOnly(r.account, value)
	case "externalID":
		r.externalID = r.requireOnly(r.externalID, value)
	case preflightName:
		r.preflight = value == preflightAllow
		r.malformed = r.malformed || !r.preflight
	default:
		r.unknown = append(r.unknown, name)
	}
	if r.malformed {
		r.account, r.preflight = unmatchableAccount, false
	}
}

// scopes returns the scopes that the key must have, separated by commas.
func (r *Requirements) scopes() string { return r.firstScopes + string(r.moreScopes) }

// addPairs adds the requirements in a text such as scopes=a&account=b. Names are not decoded, so an encoded name is unknown.
func (r *Requirements) addPairs(text, separator string) {
	for text != "" {
		var pair string
		pair, text, _ = strings.Cut(text, separator)
		if name, value, _ := strings.Cut(pair, "="); pair != "" {
			r.add(name, verifier.UnescapeQuery(value))
		}
	}
}

// preflightName and preflightAllow allow CORS preflights without a key.
const (
	preflightName  = "preflight"
	preflightAllow = "allow"
)

// requireOnly returns the account that is required after one more requirement. Two different accounts make the requirements
// unmatchable.
func (r *Requirements) requireOnly(before, value string) string {
	switch {
	case value == "":
		r.malformed = true
		return before
	case before == "" || before == value:
		return value
	}
	return unmatchableAccount
}

// hasScope reports whether a list of scopes, separated by commas, contains any scope.
func hasScope(list string) bool { return strings.Trim(list, ", \t") != "" }
