// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"hash/crc32"
	"io"
	"strings"
)

// A Token has the form <prefix>_<id>_<secret><checksum>.
const (
	// IDLength is the length of the public ID of a credential.
	IDLength       = 12
	secretLength   = 43 // 43 * log2(62) = 256 bits
	checksumLength = 6  // 62^6 > 2^32

	// TokenTailLength is the length of the part of a Token after its hint.
	TokenTailLength = len("_") + secretLength + checksumLength
)

func generateToken(random io.Reader, prefix string) ([]byte, error) {
	chars, err := drawCharacters(random, Base62, IDLength+secretLength)
	if err != nil {
		return nil, err
	}
	body := []byte(prefix + "_" + string(chars[:IDLength]) + "_" + string(chars[IDLength:]))
	return append(body, checksum(body)...), nil
}

// parseToken returns the public part of a Token and verifies its checksum. It returns ErrMalformed for anything else.
func parseToken(key []byte) (PublicPart, error) {
	parts := strings.Split(string(key), "_")
	if len(parts) != 3 || !IsPrefix(parts[0]) || len(parts[1]) != IDLength || len(parts[2]) != secretLength+checksumLength {
		return PublicPart{}, ErrMalformed
	}
	if !consistsOf([]byte(parts[1]+parts[2]), Base62) {
		return PublicPart{}, ErrMalformed
	}
	end := len(key) - checksumLength
	if string(key[end:]) != string(checksum(key[:end])) {
		return PublicPart{}, ErrMalformed
	}
	return PublicPart{ID: parts[1], Hint: parts[0] + "_" + parts[1]}, nil
}

// IsPrefix reports whether s may be the prefix of a Token.
func IsPrefix(s string) bool {
	if s == "" || len(s) > 16 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return consistsOf([]byte(s), "abcdefghijklmnopqrstuvwxyz0123456789")
}

// checksum returns the CRC-32 (IEEE) of body in base62, zero-padded. It lets secret scanners recognise keys, and does
// not protect them.
func checksum(body []byte) []byte {
	n := crc32.ChecksumIEEE(body)
	sum := make([]byte, checksumLength)
	for i := range sum {
		sum[checksumLength-1-i] = Base62[n%62]
		n /= 62
	}
	return sum
}
