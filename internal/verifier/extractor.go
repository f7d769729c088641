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

// Request is what a face knows of a request: Envoy's CheckRequest, or an HTTP request that a gateway asks about.
type Request interface {
	// Header returns the values of a header, by its canonical and by its lower-case name. A face that gets repeated
	// headers joined returns them so: no key has a comma.
	Header(canonical, lower string) []string
	// Queries are the queries of the URLs that the request is told to have, without the question mark.
	Queries() []string
}

// KeyExtractor finds the key in a request.
type KeyExtractor struct {
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

// NewKeyExtractor reads where keys are looked for, in order: header:X-API-Key, header:Authorization:Bearer, query:api_key,
// cookie:NAME or basic.
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
		return nil, fmt.Errorf("there are %d places for a key: give at most %d", len(e.sources), maxSources)
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
	return source{}, fmt.Errorf("%q is no place for a key: give header:NAME, header:NAME:SCHEME, query:NAME, cookie:NAME or basic", text)
}

// isToken is whether a text may be a header's name or a scheme (RFC 9110), or a cookie's name (RFC 6265).
func isToken(text string) bool { return httpguts.ValidHeaderFieldName(text) }

// Places are places of a Finder that hold something, one bit each.
type Places uint64

// maxSources is how many places for keys there may be: as many as Places has bits.
const maxSources = 64

// maxCandidates is how many different texts of one request are looked up. More are Ambiguous: no client sends so many.
const maxCandidates = 16

// Candidates are the texts of a request that may be keys. The zero value holds none.
type Candidates struct {
	list  [maxCandidates]candidate
	count int
	// ambiguous means that one place holds two texts, or that there are more than maxCandidates.
	ambiguous bool
}

// candidate is a text that may be a key, and where it is.
type candidate struct {
	key    string
	places Places
}

// add adds a text that is at a place.
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

// Keys returns the texts, in the order of the places, and whether a place holds two.
func (c *Candidates) Keys() (list []string, twice bool) {
	for i := range c.count {
		list = append(list, c.list[i].key)
	}
	return list, c.ambiguous
}

// Extract returns what may be a key in a request. Which of it is one, the Index knows: an application has headers and cookies
// of its own in the same places.
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

// extractFromHeader reads a header. Sent twice, or joined from two, it is ambiguous, whatever its values.
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

// apiKeyScheme is a scheme that clients use for API keys, although it is not registered.
const apiKeyScheme = "ApiKey"

// credentialsIn returns what follows the authentication scheme of a header; empty: it has another scheme. A header without
// one may have Bearer or ApiKey all the same, and Authorization may have ApiKey in place of Bearer.
func (s *source) credentialsIn(value string) string {
	switch {
	case s.scheme == "":
		return cmp.Or(trimScheme(value, "Bearer"), trimScheme(value, apiKeyScheme), value)
	case s.lower == "authorization" && strings.EqualFold(s.scheme, "Bearer"):
		return cmp.Or(trimScheme(value, s.scheme), trimScheme(value, apiKeyScheme))
	}
	return trimScheme(value, s.scheme)
}

// trimScheme is what follows an authentication scheme, whose case does not matter; empty: it is another scheme.
func trimScheme(value, scheme string) string {
	if len(value) <= len(scheme) || value[len(scheme)] != ' ' || !strings.EqualFold(value[:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimLeft(value[len(scheme):], " ")
}

// parseBasic reads the credentials of HTTP Basic authentication (RFC 7617), in either alphabet of base64, with or without
// padding. Clients put a key into the user's name, with any password, or into the password. What can't be read is a key
// that nobody has.
func parseBasic(credentials string) (user, password string) {
	plain := base64Alphabet.Replace(strings.TrimRight(credentials, "="))
	decoded, err := base64.RawStdEncoding.DecodeString(plain)
	if err != nil {
		return "not base64", ""
	}
	user, password, _ = strings.Cut(string(decoded), ":")
	return user, password
}

// base64Alphabet makes base64url (RFC 4648, section 5) base64.
var base64Alphabet = strings.NewReplacer("-", "+", "_", "/")

// cookieSeparators come between cookies. A comma does where two lines were joined into one, as Envoy does it: no name and
// no value of a cookie has one (RFC 6265, section 4.1.1).
const cookieSeparators = ";,"

// extractFromPairs reads name=value pairs. A name that comes twice is ambiguous.
func (s *source) extractFromPairs(text, separators string, into *Candidates, place Places, read func(string) string) {
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
			into.ambiguous = true
			return
		}
		seen = true
		into.add(read(value), place)
	}
}

// UnescapeQuery reads a value in a query. One that can't be read stays as it is, and is nobody's.
func UnescapeQuery(value string) string {
	if decoded, err := url.QueryUnescape(value); err == nil {
		return decoded
	}
	return value
}

// cookieValue reads a cookie's value (RFC 6265, section 4.1.1). Frameworks percent-encode it.
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

// Place is a header, a query parameter or a cookie that holds a key. An upstream must not see it then.
type Place struct {
	// Header, Parameter and Cookie are its name; two are empty. That of a header is in lower case.
	Header, Parameter, Cookie string
	// Canonical is a header's canonical name.
	Canonical string
	// Bits are those of Places that stand for it: a header may hold keys of several schemes.
	Bits Places
}

// Places returns the places where the Finder looks, each once.
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
