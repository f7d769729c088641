// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// One key for each format, in the order of the formats.
const (
	tokenKey        = "ak_4tY7bQ2mZx9L_uXw0Hc3nQe5RkT8yPz1VbJm6GsAfDh2LoWiXq9UcB00Zk7Qp"
	uuidKey         = "9f1c2d3e-4b5a-4c6d-8e7f-0a1b2c3d4e5f"
	alphanumericKey = "q8Zr2LkXv0TnB5yHc7WmJd"
	hexKey          = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
)

func TestRedact_RemovesKeys(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]string{"Token": tokenKey, "UUID": uuidKey, "Alphanumeric": alphanumericKey, "Hex": hexKey} {
		for encoding, text := range map[string]string{
			"as it is":             key,
			"in upper case":        strings.ToUpper(key),
			"in lower case":        strings.ToLower(key),
			"percent":              percent(key, "%%%02x"),
			"percent, upper case":  percent(key, "%%%02X"),
			"percent, in part":     key[:3] + percent(key[3:6], "%%%02X") + key[6:],
			"percent, twice":       strings.ReplaceAll(percent(key, "%%%02x"), "%", "%25"),
			"percent, ten times":   percent(key, "%%"+strings.Repeat("25", 9)+"%02x"),
			"percent, of UTF-16":   percent(key, "%%u%04x"),
			"base64":               base64.StdEncoding.EncodeToString([]byte(key)),
			"base64 of Basic":      base64.StdEncoding.EncodeToString([]byte("user:" + key)),
			"base64url":            base64.RawURLEncoding.EncodeToString([]byte(key)),
			"base64, then percent": url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(key))),
			"hexadecimal":          hex.EncodeToString([]byte(key)),
			"JSON escapes":         percent(key, `\u%04x`),
			"HTML, decimal":        percent(key, "&#%d;"),
			"HTML, hexadecimal":    percent(key, "&#x%x;"),
			"quoted-printable":     percent(key, "=%02X"),
			"overlong UTF-8":       overlong(key),
			"full width":           fullWidth(key),
			"behind a scheme":      "Bearer%20" + key,
			"behind a plus":        "Bearer+" + key,
			"behind a stray sign":  "%" + key,
			"behind half a sign":   "%4" + key,
			"before a stray sign":  key + "%2",
			"in quotes":            `"` + key + `"`,
			"a parameter":          ";jsessionid=" + key,
			"cut to 22":            key[len(key)-22:],
			"its first 22":         key[:min(len(key), 31)],
		} {
			for place, around := range map[string]string{
				"alone": "%s", "in a path": "/orders/%s/x", "before an ending": "/files/%s.json",
				"in a host": "%s.example.com",
			} {
				got := server.Redact(strings.ReplaceAll(around, "%s", text), "", 512)
				if want := strings.ReplaceAll(around, "%s", "[redacted]"); got != want {
					t.Errorf("%s, %s, %s: got %q, want %q", name, encoding, place, got, want)
				}
			}
		}
	}
}

func percent(text, format string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

// overlong encodes each character in two bytes of UTF-8 where one is sufficient.
func overlong(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&b, "%%%02x%%%02x", 0xc0|c>>6, 0x80|c&0x3f)
	}
	return b.String()
}

func fullWidth(text string) string {
	const offset = '\uff01' - '!'
	return strings.Map(func(r rune) rune { return r + offset }, text)
}

func TestRedact_KeepsPlainText(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "/", "GET", "api.example.com", "api.example.com:8443", "/orders/4711", "/v1/customers/123456789012345678901/orders/2026-11-25",
		"/catalogue/how-to-rotate-your-api-keys-in-2026", "/blog/2026-11-25-some_title_with_underscores",
		"/apis/apikey-manager.io/v1alpha1/namespaces/team-a/apikeys",
		"/envoy.service.auth.v3.Authorization/Check", "/reports/20261125T120000Z", "ec2-198-51-100-9.eu-west-1.compute.amazonaws.com",
		"/produits/caf%C3%A9-au-lait-et-croissants", "/produits/café-au-lait-et-croissants", "/продукты/ключи-и-замки-для-дома",
		"/files/docs%2Freports%2Fsummary%20of%202026.pdf",
		"/search/a+few+words+with+plus+signs+between", "/orders;page=2;sort=name;direction=down",
		"/a/very/long/path/of/short/words/with/a/number/7/in/it/and/v1beta1/too",
	} {
		for _, key := range []string{"", tokenKey, "/orders", "4711"} {
			if got := server.Redact(text, key, 512); got != text {
				t.Errorf("%q became %q", text, got)
			}
		}
	}
}

func TestRedact_RemovesPresentedKey(t *testing.T) {
	t.Parallel()
	const phrase = "some/words-that/are-a/key.of-their-own"
	for name, tc := range map[string]struct{ text, key, want string }{
		"words and slashes":     {"/x/" + phrase + "/y", phrase, "/x/[redacted]/y"},
		"behind a scheme":       {"/x/" + phrase, "Bearer " + phrase, "/x/[redacted]"},
		"percent-encoded":       {"/x/" + url.PathEscape(phrase) + "/y", phrase, "[redacted]"},
		"in another case":       {"/x/" + strings.ToUpper(phrase), phrase, "[redacted]"},
		"where the window ends": {"/" + strings.Repeat("word/", 25) + phrase, phrase, "/" + strings.Repeat("word/", 6) + "w"},
		"too short to be one":   {"/orders/7", "/orders", "/orders/7"},
		"a key where the window ends": {
			"/" + strings.Repeat(tokenKey+"/", 1) + strings.Repeat("word/", 11) + uuidKey, "",
			"/[redacted]/word/word/word/word/",
		},
		"many keys, and one that is cut":  {strings.Repeat("/"+alphanumericKey, 40), "", "/[redacted]/[redacted]/[redacted]"[:32]},
		"more than may be logged":         {strings.Repeat("word/", 100), "", strings.Repeat("word/", 6) + "wo"},
		"a key across the end of the cut": {strings.Repeat("word/", 4) + hexKey, "", "word/word/word/word/[redacted]"},
		"not UTF-8":                       {"/a\xff\xfe", "", "/a\uFFFD"},
	} {
		if got := server.Redact(tc.text, tc.key, 32); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

// TestRedact_RemovesGeneratedKeys redacts many generated keys of each format.
func TestRedact_RemovesGeneratedKeys(t *testing.T) {
	t.Parallel()
	random := rand.NewChaCha8([32]byte{1})
	for _, format := range []credential.Format{
		{Type: v1alpha1.FormatToken, Prefix: "ak"},
		{Type: v1alpha1.FormatToken, Prefix: "abcdefghijklmnop"},
		{Type: v1alpha1.FormatUUID},
		{Type: v1alpha1.FormatAlphanumeric, Length: 22},
		{Type: v1alpha1.FormatHex, Length: 32},
	} {
		for range 20_000 {
			issued, err := format.Generate(random)
			if err != nil {
				t.Fatal(err)
			}
			if got := server.Redact("/a/"+string(issued.Material), "", 512); got != "/a/[redacted]" {
				t.Fatalf("%s: got %q", format, got)
			}
		}
	}
}

// FuzzRedact redacts arbitrary text that contains a key of each format, and searches for the key in the result.
func FuzzRedact(f *testing.F) {
	f.Add("/orders/", "/x", "", uint8(0))
	f.Add("%", "%2", "Bearer", uint8(1))
	f.Add("/%25%2", ".json", "a.b", uint8(2))
	f.Add(strings.Repeat("/words", 84), "", "", uint8(3))
	f.Fuzz(func(t *testing.T, before, after, sent string, which uint8) {
		key := []string{tokenKey, uuidKey, alphanumericKey, hexKey}[which%4]
		for _, text := range []string{
			key, percent(key, "%%%02x"), percent(key, "%%25%02X"), base64.StdEncoding.EncodeToString([]byte(key)),
			percent(key, "=%02x"),
		} {
			got := server.Redact(before+text+after, sent, 512)
			if len(got) > 3*512 {
				t.Errorf("the result has %d bytes", len(got))
			}
			for i := 0; i+16 <= len(text) && len(before) < 512; i++ {
				if strings.Contains(got, text[i:i+16]) && !strings.Contains(before+"\x00"+after, text[i:i+16]) {
					t.Fatalf("the result of redacting %[2]q contains %[1]q", got, before+text+after)
				}
			}
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	for name, tc := range map[string]struct{ text, key string }{
		"usual path":          {"/v1/customers/4711/orders/2026-11-25", tokenKey},
		"words":               {"/catalogue/how-to-rotate-your-api-keys-in-2026", tokenKey},
		"key":                 {"/v1/orders/" + tokenKey, ""},
		"key, encoded":        {"/v1/orders/" + percent(tokenKey, "%%%02x"), ""},
		"128 KiB of words":    {strings.Repeat("/words-and-more-of-them", 5700), tokenKey},
		"128 KiB of keys":     {strings.Repeat("/"+tokenKey, 1950), tokenKey},
		"128 KiB, encoded":    {strings.Repeat("%25", 43600), tokenKey},
		"128 KiB in the key":  {"/v1/customers/4711/orders/2026-11-25", strings.Repeat(tokenKey+" ", 1950)},
		"128 KiB of the both": {strings.Repeat("/"+tokenKey, 1950), strings.Repeat(tokenKey+" ", 1950)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				server.Redact(tc.text, tc.key, 512)
			}
		})
	}
}
