// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

const (
	base62        = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	defaultPrefix = "ak"

	idLength       = 12
	secretLength   = 43 // 43 * log2(62) = 256 bits
	checksumLength = 6  // 62^6 > 2^32
)

// ErrMalformed says that bytes are not a key in the format asked for.
var ErrMalformed = errors.New("not a well-formed key")

// Minted is a new key and what may be said of it in public.
type Minted struct {
	Material Material
	Identity
}

// Identity is what may be said of a key in public.
type Identity struct {
	// ID is public and safe to log.
	ID string
	// Hint is how the key begins.
	Hint string
}

// MintToken makes a key <prefix>_<id>_<secret><checksum> from a source of random bytes. An empty prefix means ak. It
// fails only if the source does.
func MintToken(random io.Reader, prefix string) (Minted, error) {
	if prefix == "" {
		prefix = defaultPrefix
	}
	chars, err := randomBase62(random, idLength+secretLength)
	if err != nil {
		return Minted{}, fmt.Errorf("read random bytes: %w", err)
	}
	id := string(chars[:idLength])
	hint := prefix + "_" + id
	body := append([]byte(hint+"_"), chars[idLength:]...)
	return Minted{Material: append(body, checksum(body)...), Identity: Identity{ID: id, Hint: hint}}, nil
}

// ParseToken reads the identity of a Token and checks its checksum. It returns ErrMalformed for anything else.
func ParseToken(key []byte) (Identity, error) {
	parts := strings.Split(string(key), "_")
	if len(parts) != 3 || !isPrefix(parts[0]) || len(parts[1]) != idLength || len(parts[2]) != secretLength+checksumLength {
		return Identity{}, ErrMalformed
	}
	if strings.Trim(parts[1]+parts[2], base62) != "" {
		return Identity{}, ErrMalformed
	}
	end := len(key) - checksumLength
	if string(key[end:]) != string(checksum(key[:end])) {
		return Identity{}, ErrMalformed
	}
	return Identity{ID: parts[1], Hint: parts[0] + "_" + parts[1]}, nil
}

func isPrefix(s string) bool {
	if s == "" || len(s) > 16 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// checksum is the CRC-32 (IEEE) of body in base62, zero-padded. It lets scanners tell a key from a look-alike; it
// protects nothing.
func checksum(body []byte) []byte {
	n := crc32.ChecksumIEEE(body)
	sum := make([]byte, checksumLength)
	for i := range sum {
		sum[checksumLength-1-i] = base62[n%62]
		n /= 62
	}
	return sum
}

// randomBase62 draws n characters without bias: bytes that would favour the first characters are thrown away.
func randomBase62(random io.Reader, n int) ([]byte, error) {
	const fair = 256 - 256%62
	chars, buf := make([]byte, 0, n), make([]byte, n)
	for len(chars) < n {
		if _, err := io.ReadFull(random, buf); err != nil {
			return nil, err
		}
		for _, b := range buf {
			if b < fair && len(chars) < n {
				chars = append(chars, base62[b%62])
			}
		}
	}
	return chars, nil
}
