// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package credential_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// TestMaterial_IsRedacted prints, marshals and logs a key in every way.
func TestMaterial_IsRedacted(t *testing.T) {
	t.Parallel()
	m := keystest.MaterialOf("secret")
	issued := credential.Credential{Material: m, PublicPart: credential.PublicPart{ID: "public"}}
	for name, print := range map[string]func() string{
		"String":   m.String,
		"GoString": m.GoString,
		"text":     func() string { text, err := m.MarshalText(); return check(t, text, err) },
		"JSON":     func() string { text, err := json.Marshal(issued); return check(t, text, err) },
		"JSON of a pointer, in a map": func() string {
			text, err := json.Marshal(map[string]any{"key": &m, "list": []credential.Material{m}})
			return check(t, text, err)
		},
		"YAML": func() string { text, err := yaml.Marshal(issued); return check(t, text, err) },
		"slog as text": func() string {
			return logged(func(b *bytes.Buffer) { slog.New(slog.NewTextHandler(b, nil)).Info("m", "key", m, "minted", issued) })
		},
		"slog as JSON": func() string {
			return logged(func(b *bytes.Buffer) { slog.New(slog.NewJSONHandler(b, nil)).Info("m", "key", m, "minted", issued) })
		},
		"logr": func() string {
			return logged(func(b *bytes.Buffer) {
				funcr.New(func(_, args string) { b.WriteString(args) }, funcr.Options{}).Info("m", "key", m, "minted", issued)
			})
		},
		"logr as JSON": func() string {
			return logged(func(b *bytes.Buffer) {
				funcr.NewJSON(func(args string) { b.WriteString(args) }, funcr.Options{}).Info("m", "key", m, "minted", issued)
			})
		},
		"an error": func() string { return fmt.Errorf("no use for %v, %w", m, fmt.Errorf("%s", issued)).Error() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mustHide(t, print(), m)
		})
	}
}

// TestMaterial_IsRedactedForEveryVerb tries every letter as a verb, with the flags that change how verbs print. It
// leaves out two for which fmt calls no method and which go vet refuses: %w of a value that is no error, and %p of one
// that is no pointer.
func TestMaterial_IsRedactedForEveryVerb(t *testing.T) {
	t.Parallel()
	m := keystest.MaterialOf("secret")
	for _, value := range []any{m, &m, []credential.Material{m}, credential.Credential{Material: m}, &credential.Credential{Material: m}, map[string]any{"key": m}, [1]any{m}} {
		for _, flags := range []string{"", "+", "#", "-", " ", "0", "80", ".200", "# 200.100", "+#"} {
			for verb := 'A'; verb <= 'z'; verb++ {
				if verb == 'w' || verb == 'p' {
					continue
				}
				mustHide(t, fmt.Sprintf("%"+flags+string(verb), value), m)
			}
		}
		mustHide(t, fmt.Sprint(value), m)
		mustHide(t, fmt.Sprintln(value, value), m)
	}
}

func logged(log func(*bytes.Buffer)) string {
	var b bytes.Buffer
	log(&b)
	return b.String()
}

func check(t *testing.T, text []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// mustHide searches for a key, in full and in part, in every encoding that printing may give it.
func mustHide(t *testing.T, text string, m credential.Material) {
	t.Helper()
	b := []byte(m)
	part := b[len(b)-12:]
	for encoding, needle := range map[string]string{
		"plain":   string(part),
		"hex":     hex.EncodeToString(part),
		"HEX":     strings.ToUpper(hex.EncodeToString(part)),
		"decimal": strings.Trim(fmt.Sprintf("%d", part), "[]"),
		"Go":      strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", part), "[]byte{"), "}"),
		"spaced":  fmt.Sprintf("% x", part),
		"octal":   strings.Trim(fmt.Sprintf("%o", part), "[]"),
		"binary":  strings.Trim(fmt.Sprintf("%b", part), "[]"),
	} {
		if strings.Contains(text, needle) {
			t.Errorf("shows the key in %s: %s", encoding, text)
		}
	}
}

func TestMaterial_SHA256(t *testing.T) {
	t.Parallel()
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, appendix B.1
	if got := credential.Material("abc").SHA256(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
