// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"slices"
	"strings"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// cookies are what is left of a request's cookies once those that hold its key were cut out, if there were any.
type cookies struct {
	cut  bool
	rest string
}

// cutCookies cuts the cookies that hold a key out of the lines of header Cookie.
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
	return cookies{cut: cut, rest: strings.ToValidUTF8(strings.Join(remaining, "; "), "!")} // as Envoy has it
}

// cutCookie cuts keys out of what stands between two semicolons: one cookie, or the end of a line and the beginning of the
// next one, which were joined by a comma.
func cutCookie(pair string, holdsKey func(string) bool) string {
	if !strings.Contains(pair, ",") {
		if holdsKey(pair) {
			return ""
		}
		return pair
	}
	return strings.Join(slices.DeleteFunc(strings.Split(pair, ","), holdsKey), ",")
}
