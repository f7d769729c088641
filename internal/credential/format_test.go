// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package credential_test

import (
	"bytes"
	"errors"
	"math"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// formats lists formats, each with the pattern of its keys and the number of bits that it draws.
var formats = map[string]struct {
	spec  *v1alpha1.Format
	shape string
	bits  float64
}{
	"the default is a Token":          {nil, `^ak_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$`, 43 * math.Log2(62)},
	"a Token with another prefix":     {&v1alpha1.Format{Prefix: "shop1"}, `^shop1_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$`, 43 * math.Log2(62)},
	"a version 4 UUID":                {&v1alpha1.Format{Type: v1alpha1.FormatUUID}, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, 122},
	"Alphanumeric of 100":             {&v1alpha1.Format{Type: v1alpha1.FormatAlphanumeric}, `^[0-9A-Za-z]{100}$`, 100 * math.Log2(62)},
	"Alphanumeric as short as may be": {&v1alpha1.Format{Type: v1alpha1.FormatAlphanumeric, Length: 22}, `^[0-9A-Za-z]{22}$`, 22 * math.Log2(62)},
	"Hex of 64":                       {&v1alpha1.Format{Type: v1alpha1.FormatHex}, `^[0-9a-f]{64}$`, 256},
	"Hex as short as may be":          {&v1alpha1.Format{Type: v1alpha1.FormatHex, Length: 32}, `^[0-9a-f]{32}$`, 128},
	"Hex as long as may be":           {&v1alpha1.Format{Type: v1alpha1.FormatHex, Length: 256}, `^[0-9a-f]{256}$`, 1024},
}

func formatOf(spec *v1alpha1.Format) credential.Format {
	k := keystest.Key("shop")
	k.Spec.Format = spec
	return keys.EffectiveFormat(k, nil)
}

func TestFormat_Generate(t *testing.T) {
	t.Parallel()
	for name, tc := range formats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := formatOf(tc.spec)
			if tc.bits < 122 {
				t.Errorf("%.0f bits are too few for a plain SHA-256", tc.bits)
			}
			random, seen := &keystest.Bytes{Seed: name}, map[string]bool{}
			for range 200 {
				m, err := f.Generate(random)
				if err != nil || !regexp.MustCompile(tc.shape).Match(m.Material) || len(m.Material) != f.Length {
					t.Fatalf("%q of length %d, %v, want %s", []byte(m.Material), f.Length, err, tc.shape)
				}
				if seen[m.Material.SHA256()] || seen[m.ID] {
					t.Fatal("generated twice")
				}
				seen[m.Material.SHA256()], seen[m.ID] = true, true
				if again, err := f.Parse(m.Material); err != nil || again != m.PublicPart {
					t.Errorf("identified as %v, %v, want %v", again, err, m.PublicPart)
				}
				if !bytes.HasPrefix(m.Material, []byte(m.Hint)) || f.Type != v1alpha1.FormatToken && len(m.Hint) != 4 || m.ID == "" {
					t.Errorf("hint %q, id %q", m.Hint, m.ID)
				}
				for other, o := range formats {
					if !regexp.MustCompile(o.shape).Match(m.Material) && formatOf(o.spec).Type != f.Type {
						if _, err := formatOf(o.spec).Parse(m.Material); !errors.Is(err, credential.ErrMalformed) {
							t.Fatalf("a key of this format is taken for %s: %v", other, err)
						}
					}
				}
			}
		})
	}
}

func TestFormat_GenerateIsUnbiased(t *testing.T) {
	t.Parallel()
	f := formatOf(&v1alpha1.Format{Type: v1alpha1.FormatAlphanumeric, Length: 256})
	counts, random := map[byte]int{}, &keystest.Bytes{Seed: "even"}
	for range 500 {
		m, _ := f.Generate(random)
		for _, b := range []byte(m.Material) {
			counts[b]++
		}
	}
	mean := 500 * 256 / 62
	for b, n := range counts {
		if len(counts) != 62 || n < mean*85/100 || n > mean*115/100 {
			t.Errorf("%q came %d times, of %d characters, %d on average", b, n, len(counts), mean)
		}
	}
}

// Bytes that would favour the first characters of the alphabet are discarded.
func TestFormat_GenerateDiscardsBiasedBytes(t *testing.T) {
	t.Parallel()
	script := bytes.NewReader(append(bytes.Repeat([]byte{255, 248, 0, 61, 62, 247}, 40), bytes.Repeat([]byte{1}, 40)...))
	m, err := formatOf(&v1alpha1.Format{Type: v1alpha1.FormatAlphanumeric, Length: 22}).Generate(script)
	if want := strings.Repeat("0z0z", 6)[:22]; err != nil || string([]byte(m.Material)) != want {
		t.Errorf("generated %q, %v, want %q", []byte(m.Material), err, want)
	}
}

func TestFormat_GenerateReturnsSourceError(t *testing.T) {
	t.Parallel()
	for name, tc := range formats {
		broken := errors.New("no randomness")
		if m, err := formatOf(tc.spec).Generate(iotest.ErrReader(broken)); !errors.Is(err, broken) || len(m.Material) != 0 {
			t.Errorf("%s: generated %d bytes, %v", name, len(m.Material), err)
		}
	}
}

func TestFormat_Parse_Malformed(t *testing.T) {
	t.Parallel()
	token := []byte(keystest.MaterialOf("shop"))
	damaged := bytes.Clone(token)
	damaged[20] ^= 1
	for name, key := range map[string][]byte{
		"nothing": nil, "a word": []byte("garbage"), "a checksum that does not fit": damaged, "cut": token[:len(token)-1],
		"with a line break": append(bytes.Clone(token), '\n'), "upper-case UUID": []byte("F47AC10B-58CC-4372-A567-0E02B2C3D479"),
		"UUID of version 1": []byte("f47ac10b-58cc-1372-a567-0e02b2c3d479"), "UUID with a line break": []byte("f47ac10b-58cc-4372-a567-0e02b2c3d479\n"),
	} {
		for what, tc := range formats {
			if id, err := formatOf(tc.spec).Parse(key); !errors.Is(err, credential.ErrMalformed) || id != (credential.PublicPart{}) {
				t.Errorf("%s is taken for %s: %v", name, what, id)
			}
		}
	}
}
