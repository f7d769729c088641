// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import "encoding/hex"

// uuid holds a UID in the form that the API server generates.
type uuid [16]byte

const uuidLength = 36

// parseUUID parses a UID. ok reports whether the UID is canonical, so that String returns the same text.
func parseUUID(text string) (id uuid, ok bool) {
	if len(text) != uuidLength {
		return uuid{}, false
	}
	digits := make([]byte, 0, uuidLength)
	for _, part := range [][2]int{{0, 8}, {9, 13}, {14, 18}, {19, 23}, {24, 36}} {
		digits = append(digits, text[part[0]:part[1]]...)
	}
	if _, err := hex.Decode(id[:], digits); err != nil || id.String() != text {
		return uuid{}, false
	}
	return id, true
}

// String returns the UID.
func (id uuid) String() string {
	var text [uuidLength]byte
	rest := hex.AppendEncode(make([]byte, 0, 2*len(id)), id[:])
	for i := range text {
		switch i {
		case 8, 13, 18, 23:
			text[i] = '-'
		default:
			text[i], rest = rest[0], rest[1:]
		}
	}
	return string(text[:])
}
