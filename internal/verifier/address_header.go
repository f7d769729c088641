// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"fmt"
	"strings"
)

// AddressHeader is the header in which trusted proxies say whom they forward for. Only one is read: a client that sends
// another has no say.
type AddressHeader uint8

// The headers.
const (
	// XForwardedFor is a list of hops, to which each proxy appends its peer.
	XForwardedFor AddressHeader = iota
	// XRealIP is one address, which a proxy overwrites.
	XRealIP
	// Forwarded is a list of hops in the form of RFC 7239.
	Forwarded
)

// ParseAddressHeader reads the name of a header; an empty one is that of X-Forwarded-For.
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

// invalidHop is a hop that no address can be read from.
const invalidHop = "?"

// Hops returns the hops that a request names, in lines as Clients.Find reads them.
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
	return []string{invalidHop} // no such header: fail closed
}

// appendForwarded appends the hop of each element of a line of Forwarded (RFC 7239, section 4). An element whose hop can't
// be told is unreadable, and so is what stands before a line's malformed rest.
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

// cutElement reads one element of Forwarded: pairs that are separated by semicolons, up to a comma.
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

// cutPair reads a name, which is a token, and its value.
func cutPair(text string) (name, value, rest string, ok bool) {
	name, rest, ok = strings.Cut(text, "=")
	if !ok || !isToken(name) {
		return "", "", "", false
	}
	value, rest, ok = cutValue(rest)
	return name, value, rest, ok
}

// cutValue reads a token or a quoted string (RFC 9110, section 5.6).
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
