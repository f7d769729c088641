// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Request provides what a protocol knows of a request: the CheckRequest of Envoy, or the HTTP request of a gateway.
type Request interface {
	// Header returns the values of a header, given its canonical and its lower-case name. A protocol that receives
	// repeated headers joined by commas returns them joined: no key contains a comma.
	Header(canonical, lower string) []string
	// Queries returns the query strings of the URLs that the gateway passed on, without the question mark.
	Queries() []string
}

// KeyExtractor extracts candidate keys from a request.
type KeyExtractor struct {
	sources []source
}

// source describes a part of a request that may hold a key.
type source struct {
	kind sourceKind
	// name holds the canonical name of the header, or the name of the query parameter or cookie. lower holds the name
	// of the header in lower case.
	name, lower string
	// scheme holds the authentication scheme that precedes the key in a header (RFC 9110, section 11). It may be
	// empty.
	scheme string
}

type sourceKind uint8

const (
	fromHeader sourceKind = iota
	fromQuery
	fromCookie
	fromBasic
)

// DefaultSources lists the default key sources. It contains no query parameter, because URLs are written to logs.
var DefaultSources = []string{"header:X-API-Key", "header:Authorization:Bearer"}

// NewKeyExtractor returns an extractor for the given sources, in order: header:X-API-Key, header:Authorization:Bearer,
// query:api_key, cookie:NAME or basic.
func NewKeyExtractor(sources []string) (*KeyExtractor, error) {
	e := &KeyExtractor{}
	for _, text := range sources {
		s, err := parseSource(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(e.sources, s) {
			e.sources = append(e.sources, s)
		}
	}
	if len(e.sources) > maxSources {
		return nil, fmt.Errorf("too many key sources: %d, must be at most %d", len(e.sources), maxSources)
	}
	return e, nil
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
	return source{}, fmt.Errorf("invalid key source %q: must be header:NAME, header:NAME:SCHEME, query:NAME, cookie:NAME or basic", text)
}

// isToken reports whether text is a valid name of a header or a scheme (RFC 9110), or of a cookie (RFC 6265).
func isToken(text string) bool { return httpguts.ValidHeaderFieldName(text) }

// Places holds a set of the sources of a KeyExtractor, one bit each.
type Places uint64

// maxSources limits the number of sources to the number of bits in Places.
const maxSources = 64

// maxCandidates limits how many different candidates of one request are looked up. A request with more is Ambiguous.
const maxCandidates = 16

// Candidates holds the strings in a request that may be keys. The zero value holds none.
type Candidates struct {
	list  [maxCandidates]candidate
	count int
	// ambiguous reports whether one source holds two strings, or there are more than maxCandidates.
	ambiguous bool
}

// candidate holds a string that may be a key, and the sources that hold it.
type candidate struct {
	key    string
	places Places
}

// add adds a candidate that a source holds.
func (c *Candidates) add(key string, place Places) {
	if key == "" {
		return
	}
	for i := range c.count {
		if c.list[i].key == key {
			c.list[i].places |= place
			return
		}
	}
	if c.count == maxCandidates {
		c.ambiguous = true
		return
	}
	c.list[c.count] = candidate{key: key, places: place}
	c.count++
}

// Keys returns the candidates in the order of the sources. ambiguous reports whether one source holds two strings, or
// there are too many.
func (c *Candidates) Keys() (list []string, ambiguous bool) {
	for i := range c.count {
		list = append(list, c.list[i].key)
	}
	return list, c.ambiguous
}

// Extract returns the candidate keys of a request. Only the Index can tell which of them is a key, because an
// application may use the same headers and cookies for its own credentials.
func (e *KeyExtractor) Extract(r Request) Candidates {
	var found Candidates
	for i := range e.sources {
		e.sources[i].extract(r, &found, 1<<i)
	}
	return found
}

func (s *source) extract(r Request, into *Candidates, place Places) {
	switch s.kind {
	case fromHeader, fromBasic:
		s.extractFromHeader(r.Header(s.name, s.lower), into, place)
	case fromQuery:
		for _, query := range r.Queries() {
			s.extractFromPairs(query, "&", into, place, UnescapeQuery)
		}
	case fromCookie:
		for _, line := range r.Header("Cookie", "cookie") {
			s.extractFromPairs(line, cookieSeparators, into, place, cookieValue)
		}
	}
}

// extractFromHeader reads the values of a header. A header that was sent twice, or joined from two, is ambiguous
// regardless of its values.
func (s *source) extractFromHeader(values []string, into *Candidates, place Places) {
	for _, value := range values {
		key := s.credentialsIn(strings.TrimSpace(value))
		switch {
		case key == "":
			continue
		case len(values) > 1, strings.Contains(key, ","):
			into.ambiguous = true
			return
		case s.kind == fromBasic:
			user, password := parseBasic(key)
			into.add(user, place)
			into.add(password, place)
		default:
			into.add(key, place)
		}
	}
}

// apiKeyScheme is an authentication scheme that clients use for API keys, although it is not registered.
const apiKeyScheme = "ApiKey"

// credentialsIn returns what follows the authentication scheme in the value of a header, or "" if the header has
// another scheme. If the source has no scheme, Bearer and ApiKey are accepted but not required. If the source is
// Authorization with the scheme Bearer, ApiKey is accepted as well.
func (s *source) credentialsIn(value string) string {
	switch {
	case s.scheme == "":
		return cmp.Or(trimScheme(value, "Bearer"), trimScheme(value, apiKeyScheme), value)
	case s.lower == "authorization" && strings.EqualFold(s.scheme, "Bearer"):
		return cmp.Or(trimScheme(value, s.scheme), trimScheme(value, apiKeyScheme))
	}
	return trimScheme(value, s.scheme)
}

// trimScheme returns what follows an authentication scheme, which is case-insensitive, or "" if value has another
// scheme.
func trimScheme(value, scheme string) string {
	if len(value) <= len(scheme) || value[len(scheme)] != ' ' || !strings.EqualFold(value[:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimLeft(value[len(scheme):], " ")
}

// parseBasic parses the credentials of HTTP Basic authentication (RFC 7617), in either base64 alphabet, with or without
// padding. Clients send a key as the user name, with any password, or as the password. If the credentials are invalid,
// parseBasic returns a string that is not a key.
func parseBasic(credentials string) (user, password string) {
	plain := base64Alphabet.Replace(strings.TrimRight(credentials, "="))
	decoded, err := base64.RawStdEncoding.DecodeString(plain)
	if err != nil {
		return "not base64", ""
	}
	user, password, _ = strings.Cut(string(decoded), ":")
	return user, password
}

// base64Alphabet converts base64url (RFC 4648, section 5) to base64.
var base64Alphabet = strings.NewReplacer("-", "+", "_", "/")

// cookieSeparators separate cookies. A comma does so where Envoy joined two lines into one: names and values of cookies
// do not contain commas (RFC 6265, section 4.1.1).
const cookieSeparators = ";,"

// extractFromPairs reads name=value pairs. A name that occurs twice is ambiguous. So is one in a query that is percent-encoded:
// gateways remove a parameter by the name as it is written, but applications decode it, and would receive the key.
func (s *source) extractFromPairs(text, separators string, into *Candidates, place Places, read func(string) string) {
	seen := false
	for pair := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		if s.kind == fromCookie {
			pair = strings.TrimLeft(pair, " ")
		}
		name, value, _ := strings.Cut(pair, "=")
		encoded := s.kind == fromQuery && name != s.name && UnescapeQuery(name) == s.name
		if name != s.name && !encoded || value == "" {
			continue
		}
		if seen || encoded {
			into.ambiguous = true
			return
		}
		seen = true
		into.add(read(value), place)
	}
}

// UnescapeQuery decodes a value in a query string. It returns an invalid value unchanged.
func UnescapeQuery(value string) string {
	if decoded, err := url.QueryUnescape(value); err == nil {
		return decoded
	}
	return value
}

// cookieValue returns the value of a cookie (RFC 6265, section 4.1.1), which frameworks percent-encode.
func cookieValue(value string) string {
	value = strings.TrimRight(value, " ")
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	if decoded, err := url.PathUnescape(value); err == nil {
		return decoded
	}
	return value
}

// Place identifies a header, a query parameter or a cookie that may hold a key. It must be removed before a request
// reaches the upstream.
type Place struct {
	// Header, Parameter and Cookie hold the name of the place; two of them are empty. The name of a header is in lower
	// case.
	Header, Parameter, Cookie string
	// Canonical holds the canonical name of a header.
	Canonical string
	// Bits holds the sources at this place: a header may hold keys of several schemes.
	Bits Places
}

// Places returns the places that the extractor reads, each once.
func (e *KeyExtractor) Places() []Place {
	var list []Place
	for i, s := range e.sources {
		p := Place{}
		switch s.kind {
		case fromHeader, fromBasic:
			p.Header, p.Canonical = s.lower, s.name
		case fromQuery:
			p.Parameter = s.name
		case fromCookie:
			p.Cookie = s.name
		}
		same := func(other Place) bool { p.Bits = other.Bits; return p == other }
		if known := slices.IndexFunc(list, same); known >= 0 {
			list[known].Bits |= 1 << i
			continue
		}
		p.Bits = 1 << i
		list = append(list, p)
	}
	return list
}
