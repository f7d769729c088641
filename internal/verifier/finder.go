// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"encoding/base64"
	"fmt"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Request is what a face knows of a request: Envoy's CheckRequest, or an HTTP request that a gateway asks about.
type Request interface {
	// Header returns the values of a header, by its canonical and by its lower-case name. A face that gets repeated
	// headers joined returns them so: no key has a comma.
	Header(canonical, lower string) []string
	// Queries are the queries of the URLs that the request is told to have, without the question mark.
	Queries() []string
}

// Finder finds the key in a request.
type Finder struct {
	sources []source
}

// source is a place where keys may be.
type source struct {
	kind sourceKind
	// name is the header's canonical name, the query parameter's or the cookie's; lower is the header's in lower case.
	name, lower string
	// scheme is the authentication scheme that precedes the key in a header (RFC 9110, section 11); empty: none does.
	scheme string
}

type sourceKind uint8

const (
	fromHeader sourceKind = iota
	fromQuery
	fromCookie
	fromBasic
)

// DefaultSources are where keys are looked for unless flags say otherwise. A query is not among them: URLs end in logs.
var DefaultSources = []string{"header:X-API-Key", "header:Authorization:Bearer"}

// NewFinder reads where keys are looked for, in order: header:X-API-Key, header:Authorization:Bearer, query:api_key,
// cookie:NAME or basic.
func NewFinder(sources []string) (*Finder, error) {
	f := &Finder{}
	for _, text := range sources {
		s, err := parseSource(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(f.sources, s) {
			f.sources = append(f.sources, s)
		}
	}
	return f, nil
}

func parseSource(text string) (source, error) {
	kind, rest, _ := strings.Cut(text, ":")
	name, scheme, _ := strings.Cut(rest, ":")
	switch {
	case kind == "header" && isToken(name) && (scheme == "" || isToken(scheme)):
		return source{kind: fromHeader, name: textproto.CanonicalMIMEHeaderKey(name), lower: strings.ToLower(name), scheme: scheme}, nil
	case kind == "query" && rest != "" && rest == url.QueryEscape(rest):
		return source{kind: fromQuery, name: rest}, nil
	case kind == "cookie" && isToken(rest):
		return source{kind: fromCookie, name: rest}, nil
	case text == "basic":
		return source{kind: fromBasic, name: "Authorization", lower: "authorization", scheme: "Basic"}, nil
	}
	return source{}, fmt.Errorf("%q is no place for a key: give header:NAME, header:NAME:SCHEME, query:NAME, cookie:NAME or basic", text)
}

// isToken is whether a text may be a header's name or a scheme (RFC 9110), or a cookie's name (RFC 6265).
func isToken(text string) bool { return httpguts.ValidHeaderFieldName(text) }

// Find is the key of a request. Found is Valid, Missing or Ambiguous: two different keys are never tried one after the
// other, and neither is a header that was joined from two.
func (f *Finder) Find(r Request) (key string, found Code) {
	s := search{found: Missing}
	for i := range f.sources {
		f.sources[i].search(r, &s)
	}
	return s.key, s.found
}

// search is what was found so far.
type search struct {
	key   string
	found Code
}

func (s *search) add(key string) {
	switch {
	case key == "":
	case s.found == Missing:
		s.key, s.found = key, Valid
	case s.key != key:
		s.twice()
	}
}

func (s *search) twice() { s.key, s.found = "", Ambiguous }

func (s *source) search(r Request, into *search) {
	switch s.kind {
	case fromHeader, fromBasic:
		s.searchHeader(r.Header(s.name, s.lower), into)
	case fromQuery:
		for _, query := range r.Queries() {
			s.searchPairs(query, "&", into, Unescape)
		}
	case fromCookie:
		for _, line := range r.Header("Cookie", "cookie") {
			s.searchPairs(line, cookieSeparators, into, unquote)
		}
	}
}

// searchHeader reads a header. Sent twice, or joined from two, it is ambiguous, whatever its values.
func (s *source) searchHeader(values []string, into *search) {
	for _, value := range values {
		key := strings.TrimSpace(value)
		if s.scheme != "" {
			key = afterScheme(key, s.scheme)
		}
		switch {
		case key == "":
			continue
		case len(values) > 1, strings.Contains(key, ","):
			into.twice()
			return
		case s.kind == fromBasic:
			key = basic(key)
		}
		into.add(key)
	}
}

// afterScheme is what follows an authentication scheme, whose case does not matter; empty: it is another scheme.
func afterScheme(value, scheme string) string {
	if len(value) <= len(scheme) || value[len(scheme)] != ' ' || !strings.EqualFold(value[:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimLeft(value[len(scheme):], " ")
}

// basic reads the key from the credentials of HTTP Basic authentication (RFC 7617): the key alone, as the user's name
// with an empty password, or as the password. What can't be read is a key that nobody has.
func basic(credentials string) string {
	decoded, err := base64.StdEncoding.DecodeString(credentials)
	if err != nil {
		return "not base64"
	}
	user, password, _ := strings.Cut(string(decoded), ":")
	if password != "" {
		return password
	}
	return user
}

// cookieSeparators come between cookies. A comma does where two lines were joined into one, as Envoy does it: no name and
// no value of a cookie has one (RFC 6265, section 4.1.1).
const cookieSeparators = ";,"

// searchPairs reads name=value pairs. A name that comes twice is ambiguous.
func (s *source) searchPairs(text, separators string, into *search, read func(string) string) {
	seen := false
	for pair := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		if s.kind == fromCookie {
			pair = strings.TrimLeft(pair, " ")
		}
		name, value, _ := strings.Cut(pair, "=")
		if name != s.name || value == "" {
			continue
		}
		if seen {
			into.twice()
			return
		}
		seen = true
		into.add(read(value))
	}
}

// Unescape reads a value in a query. One that can't be read stays as it is, and is nobody's.
func Unescape(value string) string {
	if decoded, err := url.QueryUnescape(value); err == nil {
		return decoded
	}
	return value
}

// unquote reads a cookie's value (RFC 6265, section 4.1.1).
func unquote(value string) string {
	value = strings.TrimRight(value, " ")
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		return value[1 : len(value)-1]
	}
	return value
}

// Headers are the lower-case names of the headers that hold keys, QueryParameters and Cookies the names of those: what
// an upstream must not see.
func (f *Finder) Headers() []string {
	var names []string
	for _, s := range f.sources {
		if (s.kind == fromHeader || s.kind == fromBasic) && !slices.Contains(names, s.lower) {
			names = append(names, s.lower)
		}
	}
	return names
}

// QueryParameters are the names of the query parameters that hold keys.
func (f *Finder) QueryParameters() []string { return f.names(fromQuery) }

// Cookies are the names of the cookies that hold keys.
func (f *Finder) Cookies() []string { return f.names(fromCookie) }

func (f *Finder) names(kind sourceKind) []string {
	var names []string
	for _, s := range f.sources {
		if s.kind == kind {
			names = append(names, s.name)
		}
	}
	return names
}
