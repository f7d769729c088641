// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"slices"
	"strings"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// cookies holds the cookies of a request without those that hold its key. cut reports whether any cookie was removed.
type cookies struct {
	cut  bool
	rest string
}

// cutCookies removes the cookies that hold a key from the lines of the Cookie header.
func cutCookies(lines []string, places []verifier.Place, keys verifier.Places) cookies {
	holdsKey := func(cookie string) bool {
		name, _, _ := strings.Cut(cookie, "=")
		name = strings.TrimSpace(name)
		return slices.ContainsFunc(places, func(p verifier.Place) bool { return p.Cookie != "" && p.Bits&keys != 0 && p.Cookie == name })
	}
	if !slices.ContainsFunc(places, func(p verifier.Place) bool { return p.Cookie != "" }) {
		return cookies{}
	}
	cut := false
	var remaining []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			rest := cutCookie(pair, holdsKey)
			cut = cut || len(rest) < len(pair)
			if rest = strings.TrimSpace(rest); rest != "" {
				remaining = append(remaining, rest)
			}
		}
	}
	return cookies{cut: cut, rest: strings.ToValidUTF8(strings.Join(remaining, "; "), "!")} // like Envoy
}

// cutCookie removes keys from the text between two semicolons: a single cookie, or the last cookie of one line and the
// first of the next, which Envoy joined with a comma.
func cutCookie(pair string, holdsKey func(string) bool) string {
	if !strings.Contains(pair, ",") {
		if holdsKey(pair) {
			return ""
		}
		return pair
	}
	return strings.Join(slices.DeleteFunc(strings.Split(pair, ","), holdsKey), ",")
}
