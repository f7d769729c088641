// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"net/textproto"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// AccountHeader configures the request header that must identify the account of the key. The zero value requires no
// header.
type AccountHeader struct {
	// kind determines what the header holds.
	kind verifier.ClaimKind
	// canonical and lower hold the name of the header in the two forms that gateways send.
	canonical, lower string
}

// ParseAccountHeader parses NAME, NAME:name or NAME:externalID. An empty text requires no header.
func ParseAccountHeader(text string) (AccountHeader, error) {
	if text == "" {
		return AccountHeader{}, nil
	}
	name, kindName, hasKind := strings.Cut(text, ":")
	kinds := map[string]verifier.ClaimKind{"name": verifier.ClaimName, "externalID": verifier.ClaimExternalID}
	kind, isKnown := kinds[kindName]
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return AccountHeader{}, fmt.Errorf("invalid account header %q: must be the name of a header, such as X-FF-Company, "+
			"optionally followed by :name or :externalID", text)
	case !hasKind:
		kind = verifier.ClaimName
	case !isKnown:
		return AccountHeader{}, fmt.Errorf("invalid account header %q: must end with :name or :externalID, such as %s:externalID", text, name)
	}
	return AccountHeader{kind: kind, canonical: textproto.CanonicalMIMEHeaderKey(name), lower: strings.ToLower(name)}, nil
}

// claim returns the account that a request names in the header.
func (h AccountHeader) claim(r verifier.Request) verifier.Claim {
	if h.kind == verifier.ClaimNone {
		return verifier.Claim{}
	}
	return verifier.Claim{Kind: h.kind, Value: singleValue(r.Header(h.canonical, h.lower))}
}

// singleValue returns the value of a header that was sent exactly once, and "" otherwise.
func singleValue(values []string) string {
	if len(values) != 1 || strings.Contains(values[0], ",") {
		return ""
	}
	return strings.TrimSpace(values[0])
}
