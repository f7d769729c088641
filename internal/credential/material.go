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

// Redacted replaces key material in text.
const Redacted = "[redacted]"

// Material holds the bytes of a key. It is printed, logged and marshalled as [redacted] in all formats. Only a
// conversion to []byte returns the bytes.
type Material []byte

// SHA256 returns the SHA-256 of the whole key as 64 lower-case hexadecimal digits. Storing a plain hash is sound
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
