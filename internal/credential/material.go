// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
)

// Redacted stands in the place of key material in text.
const Redacted = "[redacted]"

// Material is the bytes of a key. However it is printed, logged or marshalled, it reads [redacted]; only a conversion to
// []byte gives the bytes.
type Material []byte

// SHA256 is the lower-case hexadecimal SHA-256 of the whole key, 64 characters. A plain hash is a sound stored form
// because every key has at least 122 bits of entropy (NIST SP 800-63B, section 5.1.2).
func (m Material) SHA256() string {
	sum := sha256.Sum256(m)
	return hex.EncodeToString(sum[:])
}

// Format implements fmt.Formatter for every verb, so that not even %d or %x shows the bytes.
func (m Material) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, Redacted) }

// String implements fmt.Stringer.
func (m Material) String() string { return Redacted }

// GoString implements fmt.GoStringer.
func (m Material) GoString() string { return Redacted }

// MarshalText implements encoding.TextMarshaler, which JSON and YAML encoders use too.
func (m Material) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// LogValue implements slog.LogValuer.
func (m Material) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalLog implements logr.Marshaler.
func (m Material) MarshalLog() any { return Redacted }
