// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"iter"
	"net/url"
	"slices"
	"strings"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// authzRequirements reads what a gateway requires from the URL with which it asks /authz, and returns what is wrong with
// it; empty: nothing.
//
// Requirements are in the query (/authz?scopes=a), or behind a semicolon (/authz;scopes=a), which also serves gateways
// that put the client's path and query behind it (/authz;scopes=a/orders?page=2). Where a path follows, the query is the
// client's. Without semicolons a requirement in it counts, and what looks like a misspelt one is refused: the gateway may
// have written it. All else in it is ignored.
func authzRequirements(u *url.URL) (r Requirements, detail string) {
	parameters, hasClientPath, isMatrix := cutAuthzPath(u.EscapedPath())
	query := u.RawQuery
	if hasClientPath && isMatrix {
		query = ""
	}
	r = parseRequirements(concat(matrixPairs(parameters), queryPairs(query)))
	if !hasClientPath || isMatrix {
		return r, r.problem()
	}
	if r.preflight {
		r.unknown = append(r.unknown, preflightName) // the client may have written it
	}
	r.unknown = slices.DeleteFunc(r.unknown, func(name string) bool { return !resemblesRequirement(name) })
	return r, r.unknownProblem()
}

// cutAuthzPath returns the parameters between /authz; and the next slash, and whether a path follows.
func cutAuthzPath(path string) (parameters string, hasClientPath, isMatrix bool) {
	first, _, hasClientPath := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	_, parameters, isMatrix = strings.Cut(first, ";")
	return parameters, hasClientPath, isMatrix
}

// matrixPairs yields the names and values of parameters that are separated by semicolons.
func matrixPairs(parameters string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for pair := range strings.SplitSeq(parameters, ";") {
			name, value, _ := strings.Cut(pair, "=")
			if pair != "" && !yield(name, verifier.UnescapeQuery(value)) {
				return
			}
		}
	}
}

func concat(lists ...iter.Seq2[string, string]) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, list := range lists {
			for name, value := range list {
				if !yield(name, value) {
					return
				}
			}
		}
	}
}

// resemblesRequirement reports whether a name is a requirement's but for its case, its punctuation or its number.
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

const knownRequirements = "give scopes, account and externalID, none of them empty, and preflight=allow only, before a path as /authz;scopes=a/"

// problem returns what is wrong with requirements, and what to do about it; empty: nothing.
func (r *Requirements) problem() string {
	if r.malformed {
		return "a requirement of the route is empty: " + knownRequirements
	}
	return r.unknownProblem()
}

// unknownProblem leaves empty requirements to the verdict: no key meets them.
func (r *Requirements) unknownProblem() string {
	if len(r.unknown) > 0 {
		return "the route requires something that is not known: " + knownRequirements
	}
	return ""
}
