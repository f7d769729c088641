// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"iter"
	"strings"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// Requirements are what a route requires of a key. They add up: a client that manages to add a requirement can only lose
// by it, but for preflight, which is read where a client has no say.
type Requirements struct {
	// scopes are separated by commas; the key must have all of them.
	scopes string
	// account is the only account by name, and externalID the only one by external ID; empty: any account.
	account, externalID string
	// preflight reports whether a CORS preflight passes without a key.
	preflight bool
	// malformed reports whether a requirement has an empty value, such as account= or scopes=, (a variable of the gateway
	// that was not set, most likely). account is unmatchable then, so that no key meets the requirements.
	malformed bool
	// unknown are the names that are no requirement.
	unknown []string
}

// unmatchableAccount is neither the name nor the external ID of any account: both are shorter.
var unmatchableAccount = strings.Repeat("-", 1024)

// parseRequirements reads the names and values with which a gateway says what a route requires.
func parseRequirements(pairs iter.Seq2[string, string]) Requirements {
	var r Requirements
	const typicalCount = 4
	scopes := make([]string, 0, typicalCount)
	for name, value := range pairs {
		switch name {
		case "scopes":
			scopes = append(scopes, value)
			r.malformed = r.malformed || !namesScope(value)
		case "account":
			r.account = r.only(r.account, value)
		case "externalID":
			r.externalID = r.only(r.externalID, value)
		case preflightName:
			r.preflight = value == preflightAllow
			r.malformed = r.malformed || !r.preflight
		default:
			r.unknown = append(r.unknown, name)
		}
	}
	r.scopes = strings.Join(scopes, ",")
	if r.malformed {
		r.account, r.preflight = unmatchableAccount, false
	}
	return r
}

// preflightName and preflightAllow let CORS preflights pass without a key.
const (
	preflightName  = "preflight"
	preflightAllow = "allow"
)

// only returns the value that an account must have after one more was required: two that differ match no account.
func (r *Requirements) only(before, value string) string {
	switch {
	case value == "":
		r.malformed = true
		return before
	case before == "" || before == value:
		return value
	}
	return unmatchableAccount
}

// namesScope reports whether a list of scopes, separated by commas, has any.
func namesScope(list string) bool { return strings.Trim(list, ", \t") != "" }

// queryPairs yields the names and values of a query. A name is taken as it stands, so that an encoded one is unknown.
func queryPairs(query string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for pair := range strings.SplitSeq(query, "&") {
			name, value, _ := strings.Cut(pair, "=")
			if pair != "" && !yield(name, verifier.UnescapeQuery(value)) {
				return
			}
		}
	}
}
