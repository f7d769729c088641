// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/url"
	"slices"
	"strings"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// authzRequirements parses the requirements of a route from the URL of a request to /authz. detail describes what is
// wrong with them; it is empty if they are valid.
//
// Requirements are in the query (/authz?scopes=a) or in path parameters (/authz;scopes=a). The latter also works for
// gateways that append the path and query of the client (/authz;scopes=a/orders?page=2). If a path follows, the query
// belongs to the client. If there are no path parameters either, requirements in the query still apply, and parameters
// that resemble a misspelt requirement are refused, because the gateway may have written them. All other parameters are
// ignored.
func authzRequirements(u *url.URL) (r Requirements, detail string) {
	parameters, hasClientPath, isMatrix := cutAuthzPath(u.EscapedPath())
	query := u.RawQuery
	if hasClientPath && isMatrix {
		query = ""
	}
	r.addPairs(parameters, ";")
	r.addPairs(query, "&")
	if !hasClientPath || isMatrix {
		return r, r.problem()
	}
	if r.preflight {
		r.unknown = append(r.unknown, preflightName) // the client may have added it
	}
	r.unknown = slices.DeleteFunc(r.unknown, func(name string) bool { return !resemblesRequirement(name) })
	return r, r.unknownProblem()
}

// cutAuthzPath returns the path parameters between /authz; and the next slash. hasClientPath reports whether a path
// follows, isMatrix whether there are path parameters.
func cutAuthzPath(path string) (parameters string, hasClientPath, isMatrix bool) {
	first, _, hasClientPath := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	_, parameters, isMatrix = strings.Cut(first, ";")
	return parameters, hasClientPath, isMatrix
}

// resemblesRequirement reports whether a name equals the name of a requirement except for case, punctuation or a plural
// s.
func resemblesRequirement(name string) bool {
	letters := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, strings.ToLower(verifier.UnescapeQuery(name)))
	switch strings.TrimSuffix(letters, "s") {
	case "scope", "account", "externalid", preflightName:
		return true
	}
	return false
}

const knownRequirements = "must be scopes, account, externalID (none of them empty) or preflight=allow; " +
	"if a path follows, write them as /authz;scopes=a/"

// unknownRequirement describes unknown requirements.
const unknownRequirement = "unknown requirement of the route: " + knownRequirements

// problem describes what is wrong with the requirements and how to correct them. It returns "" if they are valid.
func (r *Requirements) problem() string {
	if r.malformed {
		return "invalid requirement of the route: " + knownRequirements
	}
	return r.unknownProblem()
}

// unknownProblem describes unknown requirements only. Empty requirements are left to the verdict: no key meets them.
func (r *Requirements) unknownProblem() string {
	if len(r.unknown) > 0 {
		return unknownRequirement
	}
	return ""
}
