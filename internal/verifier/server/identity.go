// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strings"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// The identity headers, in the order of their names in this list. Upstreams get them from the door alone.
const (
	headerID = iota
	headerAccount
	headerExternalID
	headerName
	headerScopes

	headerCount
)

var identityHeaders = [headerCount]string{"X-Apikey-Id", "X-Apikey-Account", "X-Apikey-External-Id", "X-Apikey-Name", "X-Apikey-Scopes"}

// lowerIdentityHeaders are their names as Envoy has them.
var lowerIdentityHeaders = func() (lower [headerCount]string) {
	for i, name := range identityHeaders {
		lower[i] = strings.ToLower(name)
	}
	return lower
}()

// identityValues are the values of the identity headers; empty: the header must not be there.
func identityValues(id *verifier.Identity) [headerCount]string {
	return [headerCount]string{
		headerID: encodeHeaderValue(id.KeyID), headerAccount: encodeHeaderValue(id.Account), headerExternalID: encodeHeaderValue(id.ExternalID),
		headerName: encodeHeaderValue(id.Namespace + "/" + id.Name), headerScopes: encodeHeaderValue(id.Scopes),
	}
}

// encodeHeaderValue makes a header's value of any text: what must not be in one (RFC 9110, section 5.5), what is not ASCII, and the
// percent sign, are percent-encoded, so that the text can be had back. An external ID may be anything.
func encodeHeaderValue(text string) string {
	for i := range len(text) {
		if !isPlainByte(text, i) {
			return percentEncode(text)
		}
	}
	return text
}

// isPlainByte is whether a byte may stay as it is. Spaces at the ends would be lost.
func isPlainByte(text string, i int) bool {
	c := text[i]
	if c == ' ' {
		return i > 0 && i < len(text)-1
	}
	return c > ' ' && c < 0x7f && c != '%'
}

func percentEncode(text string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; isPlainByte(text, i) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&0xf]})
		}
	}
	return b.String()
}
