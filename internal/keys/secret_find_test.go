// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// formats lists the formats that keys can have, with the lengths that are hardest to find.
var formats = []credential.Format{
	{Type: v1alpha1.FormatToken, Prefix: "ak"},
	{Type: v1alpha1.FormatToken, Prefix: "a123456789012345"},
	{Type: v1alpha1.FormatUUID},
	{Type: v1alpha1.FormatAlphanumeric, Length: 22},
	{Type: v1alpha1.FormatAlphanumeric, Length: 256},
	{Type: v1alpha1.FormatHex, Length: 32},
	{Type: v1alpha1.FormatHex, Length: 256},
}

func mintFor(t testing.TB, format credential.Format, seed uint64) (credential.Credential, v1alpha1.Credential) {
	t.Helper()
	issued, err := format.Generate(rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), 1}))
	if err != nil {
		t.Fatal(err)
	}
	return issued, v1alpha1.Credential{ID: issued.ID, Hint: issued.Hint, SHA256: issued.Material.SHA256()}
}

// A key is found whatever text surrounds it.
func TestFindCredential(t *testing.T) {
	t.Parallel()
	for i, format := range formats {
		key, known := mintFor(t, format, uint64(i))
		text := string([]byte(key.Material))
		for name, around := range map[string]string{
			"alone": "%[1]s", "header": "Bearer %[1]s", "line": "%[1]s\n", "JSON": `{"a": "b", "key": "%[1]s", "c": 1}`, "env": "A=1\nKEY=%[1]s\nB=2\n",
			"netrc": "machine example.com login acme password %[1]s", "URL": "https://user:%[1]s@example.com/", "twice": "%[1]s%[1]s",
			"glued": "x1%[1]sy2", "glued to digits": "0000%[1]s0000", "hint before": "%[2]s %[2]s%[2]s-%[1]s", "underscores": "_%[1]s_", "dashes": "-%[1]s-",
			"many hints before, apart": strings.Repeat("%[2]s ", 900) + "%[1]s",
		} {
			value := fmt.Sprintf(around, text, known.Hint)
			found, ok := findCredential(map[string][]byte{"a": []byte("other"), "b": []byte(value)}, known)
			if !ok || !bytes.Equal(found.Material, key.Material) || found.ID != key.ID {
				t.Errorf("%s %s: not found", format, name)
			}
			for other, changed := range map[string]string{
				"encoded": base64.StdEncoding.EncodeToString([]byte(value)), "cut": strings.ReplaceAll(value, text, text[:len(text)-1]),
				"in other case": strings.ToUpper(value) + "é", "of another key": strings.ReplaceAll(value, text[len(text)-4:], "zzzz"),
			} {
				if strings.Contains(changed, text) {
					continue
				}
				if _, ok := findCredential(map[string][]byte{"b": []byte(changed)}, known); ok {
					t.Errorf("%s %s, %s: found", format, name, other)
				}
			}
		}
	}
	for _, known := range []v1alpha1.Credential{{}, {Hint: "a"}, {Hint: "a", SHA256: "xx"}, {SHA256: strings.Repeat("0", 64)}} {
		if _, ok := findCredential(map[string][]byte{"a": []byte("aaa")}, known); ok {
			t.Errorf("%+v is found", known)
		}
	}
}

// hostileSecrets returns Secrets of 1 MiB with many values that look like the key.
func hostileSecrets(key credential.Credential) map[string][]byte {
	const size = 1 << 20
	text := string([]byte(key.Material))
	repeated := func(s string) []byte { return bytes.Repeat([]byte(s), size/len(s)) }
	return map[string][]byte{
		"repeated hints": repeated(key.Hint), "hints, apart": repeated(key.Hint + " "), "one letter": repeated(key.Hint[:1]),
		"keys cut short": repeated(text[:len(text)-1]), "keys with another end": repeated(text[:len(text)-1] + "~"),
		"keys with another end, apart": repeated(text[:len(text)-1] + "~\n"), "nested": repeated(key.Hint + key.Hint[:len(key.Hint)-1]),
		"look-alikes": repeated(key.Hint + text[len(key.Hint):len(text)-3] + "000"), "nothing": repeated("\x00"),
	}
}

func TestFindCredential_WorkIsBounded(t *testing.T) {
	t.Parallel()
	for i, format := range formats {
		key, known := mintFor(t, format, uint64(i))
		f := credentialFinder{hint: []byte(known.Hint), left: maxFindSteps}
		for name, value := range hostileSecrets(key) {
			f.left = maxFindSteps
			f.scan(value, f.likely)
			f.scan(value, f.anyLength)
			if f.left < -maxKeyLength {
				t.Errorf("%s, %s: %d steps too many", format, name, -f.left)
			}
		}
	}
}

func BenchmarkFindCredential(b *testing.B) {
	for i, format := range formats {
		key, known := mintFor(b, format, uint64(i))
		for name, value := range hostileSecrets(key) {
			data := map[string][]byte{"a": value[:len(value)/2], "b": value[len(value)/2:]}
			b.Run(fmt.Sprintf("%s-%d/%s", format, len(key.Material), name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					findCredential(data, known)
				}
			})
		}
	}
}

// The key is found again in the Secret of every accepted template. If the output of the template depends on the bytes
// of the key, Render fails and nothing is written.
func TestTemplate_AcceptedTemplateKeepsKeyFindable(t *testing.T) {
	t.Parallel()
	around := rapid.SampledFrom([]string{
		"", " ", "x", "-", "_", "0", "\n", `"`, "Bearer ", "{{.Label}}", "{{.KeyID}}", "{{.PreviousKey}}", "{{slice .Key 0 4}}", "{{range .Scopes}}{{.}}{{end}}",
		"{{.Key | b64enc}}", "{{if .PreviousKey}}{{.PreviousKey}}{{end}}",
	})
	looks := rapid.SampledFrom([]string{
		"{{.Key}}", "{{.Key}}", "{{quote .Key}}", "{{upper .Key}}", `{{if eq .KeyID "stand-in"}}no{{else}}{{.Key}}{{end}}`, "{{if ne .Key .PreviousKey}}{{.Key}}{{end}}",
		`{{if lt (slice .Key 20 22) "V"}}{{.Key}}{{end}}`, "{{if eq (len .Key) 64}}{{.Key}}{{end}}", "{{if .PreviousKey}}none{{else}}{{.Key}}{{end}}", "{{slice .Key 1}}",
	})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(around, 0, 4).Draw(t, "before"), "") + looks.Draw(t, "key") + strings.Join(rapid.SliceOfN(around, 0, 4).Draw(t, "after"), "")
		format := rapid.SampledFrom(formats).Draw(t, "format")
		k, a := templateKey(map[string]string{"x": text})
		k.Spec.Scopes = k.Spec.Scopes[:3]
		k.Spec.Format = &v1alpha1.Format{Type: format.Type, Prefix: format.Prefix, Length: int32(format.Length)}
		if err := checkTemplate(k, a); err != nil {
			if text == "{{.Key}}" || !IsTemplateError(err) {
				t.Fatalf("%q is refused: %v", text, err)
			}
			return
		}
		issued, _ := format.Generate(rand.NewChaCha8([32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed"))))
		before, _ := format.Generate(rand.NewChaCha8([32]byte{9}))
		k.Status.Credentials = []v1alpha1.Credential{
			{ID: issued.ID, Hint: issued.Hint, SHA256: issued.Material.SHA256(), Role: v1alpha1.RoleCurrent},
			{ID: before.ID, Hint: before.Hint, SHA256: before.Material.SHA256(), Role: v1alpha1.RolePrevious},
		}
		for _, credentials := range []SecretCredentials{{Current: issued}, {Current: issued, Previous: before}} {
			secret, err := Render(k, a, credentials)
			if err != nil {
				if !IsTemplateError(err) || !strings.Contains(text, "slice .Key 20") && !strings.Contains(text, "slice .Key 1}}") {
					t.Fatalf("%q was admitted and does not render: %v", text, err)
				}
				continue
			}
			if observed, _ := InspectSecret(k, a, secret, "1"); observed.Current.SHA256 != issued.Material.SHA256() {
				t.Fatalf("%q: the key is not found again", text)
			}
		}
	})
}
