// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// ErrMalformed reports that bytes are not a key in the expected format.
var ErrMalformed = errors.New("not a well-formed key")

// Credential holds a key: the secret material, and the part of it that may be shown.
type Credential struct {
	Material Material
	PublicPart
}

// PublicPart holds the part of a credential that may be shown and logged.
type PublicPart struct {
	// ID identifies the credential. It is public.
	ID string
	// Hint holds the first characters of the key.
	Hint string
}

// Format describes the format of a credential, with all defaults filled in.
type Format struct {
	Type   v1alpha1.FormatType
	Prefix string
	Length int
}

// String returns the name of the format for plans and logs.
func (f Format) String() string { return string(f.Type) }

// Base62 lists the digits of base 62, in order. It is the alphabet of the secret part of a Token.
const Base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// UUIDLength is the length of a UUID in its textual form (RFC 9562, section 4).
const UUIDLength = 36

const (
	hexDigits = "0123456789abcdef"

	defaultPrefix       = "ak"
	defaultAlphanumeric = 100
	defaultHex          = 64
)

// uuidVersion4 matches a random UUID (RFC 9562, section 5.4).
var uuidVersion4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// FormatOf returns the format that an API object specifies, with its defaults filled in.
func FormatOf(spec v1alpha1.Format) Format {
	f := Format{Type: spec.Type, Prefix: spec.Prefix, Length: int(spec.Length)}
	switch f.Type {
	case v1alpha1.FormatUUID:
		f.Length = UUIDLength
	case v1alpha1.FormatAlphanumeric:
		f.Length = cmp.Or(f.Length, defaultAlphanumeric)
	case v1alpha1.FormatHex:
		f.Length = cmp.Or(f.Length, defaultHex)
	case v1alpha1.FormatToken, "":
		f.Type = v1alpha1.FormatToken
		f.Prefix = cmp.Or(f.Prefix, defaultPrefix)
		f.Length = len(f.Prefix) + len("_") + IDLength + TokenTailLength
	}
	return f
}

// Generate generates a key from a source of random bytes. It fails only if the source does.
func (f Format) Generate(random io.Reader) (Credential, error) {
	var material []byte
	var err error
	switch f.Type {
	case v1alpha1.FormatUUID:
		material, err = generateUUID(random)
	case v1alpha1.FormatAlphanumeric:
		material, err = drawCharacters(random, Base62, f.Length)
	case v1alpha1.FormatHex:
		material, err = drawCharacters(random, hexDigits, f.Length)
	case v1alpha1.FormatToken:
		material, err = generateToken(random, f.Prefix)
	default:
		return Credential{}, fmt.Errorf("unknown format %q", f.Type)
	}
	if err != nil {
		return Credential{}, fmt.Errorf("read random bytes: %w", err)
	}
	identity, err := f.Parse(material)
	return Credential{Material: material, PublicPart: identity}, err
}

// Parse returns the public part of a key, or ErrMalformed if the key does not have this format.
func (f Format) Parse(key Material) (PublicPart, error) {
	wellFormed := false
	switch f.Type {
	case v1alpha1.FormatToken:
		return parseToken(key)
	case v1alpha1.FormatUUID:
		wellFormed = uuidVersion4.Match(key)
	case v1alpha1.FormatAlphanumeric:
		wellFormed = len(key) == f.Length && consistsOf(key, Base62)
	case v1alpha1.FormatHex:
		wellFormed = len(key) == f.Length && consistsOf(key, hexDigits)
	}
	if !wellFormed {
		return PublicPart{}, ErrMalformed
	}
	return opaquePart(key), nil
}

func consistsOf(key []byte, alphabet string) bool {
	return strings.Trim(string(key), alphabet) == ""
}

// opaquePart returns the public part of a key that contains no ID: the first 12 digits of its SHA-256, which reveal
// nothing about a key of 122 bits or more, and its first four characters.
func opaquePart(key Material) PublicPart {
	const hintLength = 4
	return PublicPart{ID: key.SHA256()[:IDLength], Hint: string(key[:hintLength])}
}

// generateUUID generates a version 4 UUID (RFC 9562, section 5.4), which has 122 random bits.
func generateUUID(random io.Reader) ([]byte, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, err
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Appendf(nil, "%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16]), nil
}

// drawCharacters draws n characters of an alphabet without bias: it discards bytes that would favour the first
// characters of the alphabet.
func drawCharacters(random io.Reader, alphabet string, n int) ([]byte, error) {
	fair := 256 - 256%len(alphabet)
	chars, buf := make([]byte, 0, n), make([]byte, n)
	for len(chars) < n {
		if _, err := io.ReadFull(random, buf); err != nil {
			return nil, err
		}
		for _, b := range buf {
			if int(b) < fair && len(chars) < n {
				chars = append(chars, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return chars, nil
}
