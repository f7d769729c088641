// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strings"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// The indexes of the identity headers in identityHeaders. Upstreams receive these headers only from the verifier.
const (
	headerID = iota
	headerUID
	headerAccount
	headerExternalID
	headerName
	headerScopes
	headerPlan

	headerCount
)

var identityHeaders = [headerCount]string{
	"X-Apikey-Id", "X-Apikey-Uid", "X-Apikey-Account", "X-Apikey-External-Id", "X-Apikey-Name", "X-Apikey-Scopes", "X-Apikey-Plan",
}

// lowerIdentityHeaders holds the names in lower case, as Envoy uses them.
var lowerIdentityHeaders = func() (lower [headerCount]string) {
	for i, name := range identityHeaders {
		lower[i] = strings.ToLower(name)
	}
	return lower
}()

// identityValues returns the values of the identity headers. A header with an empty value must be absent.
func identityValues(id *verifier.Identity) [headerCount]string {
	return [headerCount]string{
		headerID: encodeHeaderValue(id.KeyID), headerUID: encodeHeaderValue(id.UID), headerAccount: encodeHeaderValue(id.Account),
		headerExternalID: encodeHeaderValue(id.ExternalID), headerName: encodeHeaderValue(id.Namespace + "/" + id.Name),
		headerScopes: encodeHeaderValue(id.Scopes), headerPlan: encodeHeaderValue(id.Plan),
	}
}

// encodeHeaderValue returns text as a valid header value. It percent-encodes characters that are invalid in a header
// (RFC 9110, section 5.5), non-ASCII characters and the percent sign, so that the text can be decoded. An external ID
// may contain any character.
func encodeHeaderValue(text string) string {
	for i := range len(text) {
		if !isPlainByte(text, i) {
			return percentEncode(text)
		}
	}
	return text
}

// isPlainByte reports whether the byte at i need not be encoded. Leading and trailing spaces are encoded, because they
// would be lost.
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
