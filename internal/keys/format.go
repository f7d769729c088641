// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// ErrMalformed says that bytes are not a key in the format asked for.
var ErrMalformed = errors.New("not a well-formed key")

// NewCredential is a new key and what may be said of it in public.
type NewCredential struct {
	Material Material
	PublicPart
}

// PublicPart is what may be said of a key in public.
type PublicPart struct {
	// ID is public and safe to log.
	ID string
	// Hint is how the key begins.
	Hint string
}

// Format is what a credential looks like, with nothing left to default.
type Format struct {
	Type   v1alpha1.FormatType
	Prefix string
	Length int
}

// String names the format for plans and logs.
func (f Format) String() string { return string(f.Type) }

const (
	base62    = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	hexDigits = "0123456789abcdef"

	defaultPrefix       = "ak"
	defaultAlphanumeric = 100
	defaultHex          = 64

	// uuidVersion4 is RFC 9562, section 5.4.
	uuidLength = 36
)

var uuidVersion4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// EffectiveFormat is the format of a key's next credential: the key's own, else its account's default, else Token.
func EffectiveFormat(k *v1alpha1.APIKey, a *v1alpha1.Account) Format {
	spec := k.Spec.Format
	if spec == nil && a != nil && a.Spec.KeyDefaults != nil {
		spec = a.Spec.KeyDefaults.Format
	}
	if spec == nil {
		spec = &v1alpha1.Format{}
	}
	f := Format{Type: spec.Type, Prefix: spec.Prefix, Length: int(spec.Length)}
	switch f.Type {
	case v1alpha1.FormatUUID:
		f.Length = uuidLength
	case v1alpha1.FormatAlphanumeric:
		f.Length = cmp.Or(f.Length, defaultAlphanumeric)
	case v1alpha1.FormatHex:
		f.Length = cmp.Or(f.Length, defaultHex)
	case v1alpha1.FormatToken, "":
		f.Type = v1alpha1.FormatToken
		f.Prefix = cmp.Or(f.Prefix, defaultPrefix)
		f.Length = len(f.Prefix) + len("_") + idLength + len("_") + secretLength + checksumLength
	}
	return f
}

// Generate makes a key from a source of random bytes. It fails only if the source does.
func (f Format) Generate(random io.Reader) (NewCredential, error) {
	var material []byte
	var err error
	switch f.Type {
	case v1alpha1.FormatUUID:
		material, err = generateUUID(random)
	case v1alpha1.FormatAlphanumeric:
		material, err = drawCharacters(random, base62, f.Length)
	case v1alpha1.FormatHex:
		material, err = drawCharacters(random, hexDigits, f.Length)
	case v1alpha1.FormatToken:
		material, err = generateToken(random, f.Prefix)
	default:
		return NewCredential{}, fmt.Errorf("unknown format %q", f.Type)
	}
	if err != nil {
		return NewCredential{}, fmt.Errorf("read random bytes: %w", err)
	}
	identity, err := f.Parse(material)
	return NewCredential{Material: material, PublicPart: identity}, err
}

// Observed describes a new key without its bytes.
func (m NewCredential) Observed() ObservedCredential { return observeCredential(Credential(m)) }

// Parse says what may be said of a key in public, or ErrMalformed if it is not a key of this format.
func (f Format) Parse(key Material) (PublicPart, error) {
	switch f.Type {
	case v1alpha1.FormatToken:
		return parseToken(key)
	case v1alpha1.FormatUUID:
		return opaquePart(key, uuidVersion4.Match(key))
	case v1alpha1.FormatAlphanumeric:
		return opaquePart(key, len(key) == f.Length && consistsOf(key, base62))
	case v1alpha1.FormatHex:
		return opaquePart(key, len(key) == f.Length && consistsOf(key, hexDigits))
	}
	return PublicPart{}, ErrMalformed
}

func consistsOf(key []byte, alphabet string) bool {
	return strings.Trim(string(key), alphabet) == ""
}

// opaquePart is the identity of a key that carries no id of its own: the first 12 digits of its SHA-256, which tell nothing
// about a key of 122 bits or more, and its first four characters.
func opaquePart(key Material, wellFormed bool) (PublicPart, error) {
	const hintLength = 4
	if !wellFormed {
		return PublicPart{}, ErrMalformed
	}
	return PublicPart{ID: key.SHA256()[:idLength], Hint: string(key[:hintLength])}, nil
}

// generateUUID makes a version 4 UUID (RFC 9562, section 5.4): 122 random bits.
func generateUUID(random io.Reader) ([]byte, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, err
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Appendf(nil, "%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16]), nil
}

// drawCharacters takes n characters of an alphabet without bias: bytes that would favour its first characters are thrown away.
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
