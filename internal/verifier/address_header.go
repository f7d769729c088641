// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"fmt"
	"strings"
)

// AddressHeader selects the header in which trusted proxies pass on the address of the client. Other headers are
// ignored, so that a client cannot choose its address by sending one of them.
type AddressHeader uint8

// The supported headers.
const (
	// XForwardedFor holds a list of hops, to which each proxy appends its peer.
	XForwardedFor AddressHeader = iota
	// XRealIP holds one address, which a proxy overwrites.
	XRealIP
	// Forwarded holds a list of hops in the syntax of RFC 7239.
	Forwarded
)

// ParseAddressHeader parses the name of a header. An empty name selects X-Forwarded-For.
func ParseAddressHeader(name string) (AddressHeader, error) {
	if name == "" {
		return XForwardedFor, nil
	}
	for header, known := range map[AddressHeader]string{XForwardedFor: "X-Forwarded-For", XRealIP: "X-Real-IP", Forwarded: "Forwarded"} {
		if strings.EqualFold(name, known) {
			return header, nil
		}
	}
	return 0, fmt.Errorf("invalid header %q: must be X-Forwarded-For, X-Real-IP or Forwarded", name)
}

// LowerName returns the name of the header in lower case.
func (h AddressHeader) LowerName() string {
	switch h {
	case XForwardedFor:
		return "x-forwarded-for"
	case XRealIP:
		return "x-real-ip"
	case Forwarded:
		return "forwarded"
	}
	return "" // unknown header
}

// invalidHop stands for a hop that holds no valid address.
const invalidHop = "?"

// Hops returns the hops of a request, in the form that ClientIPResolver.Resolve expects.
func (h AddressHeader) Hops(r Request) []string {
	switch h {
	case XForwardedFor:
		return r.Header("X-Forwarded-For", "x-forwarded-for")
	case XRealIP:
		if values := r.Header("X-Real-Ip", "x-real-ip"); len(values) < 2 {
			return values
		}
		return []string{invalidHop}
	case Forwarded:
		var hops []string
		for _, line := range r.Header("Forwarded", "forwarded") {
			hops = appendForwarded(hops, line)
		}
		return hops
	}
	return []string{invalidHop} // unknown header: fail closed
}

// appendForwarded appends the hop of each element in a line of the Forwarded header (RFC 7239, section 4). It appends
// invalidHop for an element without a valid hop, and for the malformed rest of a line.
func appendForwarded(hops []string, line string) []string {
	for {
		hop, rest, more := cutElement(line)
		hops = append(hops, hop)
		if !more {
			return hops
		}
		line = rest
	}
}

// cutElement cuts one element of the Forwarded header: pairs that are separated by semicolons, up to a comma.
func cutElement(line string) (hop, rest string, more bool) {
	hop = invalidHop
	seen := false
	for {
		line = strings.TrimLeft(line, " \t;") // a pair may be empty
		switch {
		case line == "":
			return hop, "", false
		case line[0] == ',':
			return hop, line[1:], true
		}
		name, value, after, ok := cutPair(line)
		if !ok {
			return invalidHop, "", false
		}
		if strings.EqualFold(name, "for") {
			hop = value
			if seen || strings.Contains(value, ",") {
				hop = invalidHop
			}
			seen = true
		}
		if line = strings.TrimLeft(after, " \t"); line != "" && line[0] != ',' && line[0] != ';' {
			return invalidHop, "", false
		}
	}
}

// cutPair cuts a name, which must be a token, and its value.
func cutPair(text string) (name, value, rest string, ok bool) {
	name, rest, ok = strings.Cut(text, "=")
	if !ok || !isToken(name) {
		return "", "", "", false
	}
	value, rest, ok = cutValue(rest)
	return name, value, rest, ok
}

// cutValue cuts a token or a quoted string (RFC 9110, section 5.6).
func cutValue(text string) (value, rest string, ok bool) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexAny(text, ",; \t")
		if end < 0 {
			end = len(text)
		}
		return text[:end], text[end:], end > 0
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), text[i+1:], true
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}
