// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"encoding/base64"
)

// The size of an object is counted as that of its JSON with its managedFields, which is at least that of what the API
// server stores. etcd accepts 1.5 MiB.
const (
	// maxObjectSize limits the size of an object.
	maxObjectSize = 900 << 10
	// preferredSize is the size of all entries up to which an object gets more, while there are fewer than preferredShards objects:
	// 256 KiB with objectOverhead. Each change of an entry writes its whole object, and sends it to all gateways.
	preferredSize   = 252 << 10
	preferredShards = 64
	// objectOverhead is an upper bound of the size of an object without entries, labels and annotations.
	objectOverhead = 4 << 10
	// itemOverhead is the size of the quotation marks and separators of an entry, in the data and in managedFields.
	itemOverhead = len(`"":"",`) + len(`"f:":{},`)
)

// sizeOf returns the size of an entry in an object. The value of an entry in a ConfigMap is plain text.
func (x *Export) sizeOf(name string, value []byte) int {
	encoded := base64.StdEncoding.EncodedLen(len(value))
	if x.spec.Target.Type == "" {
		encoded = max(encoded, escapedLength(value))
	}
	return 2*len(name) + encoded + itemOverhead
}

// escapedLength returns an upper bound of the length of a text in JSON: the encoder writes six bytes for a control
// character, for <, > and &, and for U+2028 and U+2029, which have three bytes.
func escapedLength(text []byte) int {
	n := len(text)
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			n++
		case c < ' ' || c == '<' || c == '>' || c == '&':
			n += 5
		case c == 0xE2:
			n += 3
		}
	}
	return n
}

// capacity returns the size that the entries of an object may have together.
func (x *Export) capacity() int {
	size := objectOverhead
	c := x.metadataOf(nil)
	for _, metadata := range []map[string]string{c.Labels, c.Annotations} {
		for name, value := range metadata {
			size += 2*len(name) + escapedLength([]byte(value)) + itemOverhead
		}
	}
	return maxObjectSize - size
}
