// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"net/textproto"
	"regexp"
	"slices"
	"strings"

	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// MetadataHeader configures an identity header that holds an entry of the metadata of a key.
type MetadataHeader struct {
	// entry holds the name of the entry.
	entry string
	// canonical and lower hold the name of the header in the two forms that responses use.
	canonical, lower string
}

// metadataHeaderPattern matches names in the family of identity headers, which gateways remove from requests.
var metadataHeaderPattern = regexp.MustCompile(`^(?i:x-apikey)(-[A-Za-z0-9]+)+$`)

// ParseMetadataHeaders parses a list of ENTRY=HEADER, such as team=X-Apikey-Team.
func ParseMetadataHeaders(texts []string) ([]MetadataHeader, error) {
	var list []MetadataHeader
	for _, text := range texts {
		entry, name, _ := strings.Cut(text, "=")
		h := MetadataHeader{entry: entry, canonical: textproto.CanonicalMIMEHeaderKey(name), lower: strings.ToLower(name)}
		switch {
		case !keys.IsMetadataName(entry):
			return nil, fmt.Errorf("invalid metadata header %q: must begin with the name of a metadata entry and =, such as "+
				"team=X-Apikey-Team", text)
		case !metadataHeaderPattern.MatchString(name):
			return nil, fmt.Errorf("invalid metadata header %q: must end with the name of a header that begins with X-Apikey- and has only "+
				"letters, digits and single hyphens, such as %s=X-Apikey-Team", text, entry)
		case slices.Contains(lowerIdentityHeaders[:], h.lower):
			return nil, fmt.Errorf("invalid metadata header %q: must not name %s, which the verifier sets to another value", text, h.canonical)
		case slices.ContainsFunc(list, func(other MetadataHeader) bool { return other.lower == h.lower }):
			return nil, fmt.Errorf("invalid metadata header %q: must not name %s again: each header holds one entry", text, h.canonical)
		}
		list = append(list, h)
	}
	return list, nil
}

// value returns the encoded value of the header for a key, or "" if the header must be absent.
func (h *MetadataHeader) value(id *verifier.Identity) string {
	return encodeHeaderValue(id.Metadata.Get(h.entry))
}
