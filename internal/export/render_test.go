// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// rich returns a key and an account with all values that templates may use.
func rich() export.Candidate {
	c := newCandidate("shop", keystest.Label("Shop"), keystest.Scopes("a", "b"), keystest.Expiration("2027-01-01T00:00:00Z"),
		keystest.Metadata(map[string]v1alpha1.MetadataValue{"team": "shop", "tier": "gold"}), keystest.RateLimits(keystest.RateLimit("requests", 5, "Minute")))
	c.Account = keystest.NewAccount("acme", keystest.Policy(func(s *v1alpha1.AccountSpec) {
		s.ExternalID, s.Plan, s.Metadata = "4711", "pro", map[string]v1alpha1.MetadataValue{"tier": "basic"}
		s.RateLimits = []v1alpha1.RateLimit{keystest.RateLimit("requests", 10, "Minute"), keystest.RateLimit("tokens", 7, "Day")}
	}))
	return c
}

// shopKey is the material of the key that rich returns.
var shopKey = keystest.MaterialOf("default/shop")

func TestRender_Values(t *testing.T) {
	t.Parallel()
	c := rich()
	cred := c.Key.Status.Credentials[0]
	for text, want := range map[string]string{
		"{{ .Digest }}": "sha256:" + shopKey.SHA256(), "{{ .KeyID }}": cred.ID, "{{ .UID }}": "uid-shop", "{{ .Role }}": "Current", "{{ .Plan }}": "pro",
		"{{ .Account }}/{{ .Namespace }}/{{ .Name }}/{{ .Label }}/{{ .ExternalID }}": "acme/default/shop/Shop/4711", "{{ join `,` .Scopes }}": "a,b",
		"{{ .Expiration }}": "2027-01-01T00:00:00Z", "{{ .Metadata.team }} {{ .Metadata.tier }}": "shop basic",
		"{{ range .RateLimits }}{{ .Name }}={{ .Requests }}/{{ .Unit }} {{ end }}": "requests=5/Minute tokens=7/Day ",
		"{{ range $i, $l := .RateLimits }}{{ $i }}{{ $l.Name }}{{ end }}":          "0requests1tokens", "{{ (index .RateLimits 1).Requests }}": "7", "{{ len .RateLimits }}": "2",
		`{{ if eq .Role "Current" }}now{{ end }}`: "now", "{{ if gt (index .RateLimits 0).Requests 4 }}many{{ end }}": "many",
	} {
		x := compiled(t, entry("", "{{ .Digest }} "+text))
		e, err := x.Render(c, cred, nil)
		if got := strings.TrimPrefix(string([]byte(e.Value)), "sha256:"+shopKey.SHA256()+" "); err != nil || got != want {
			t.Errorf("%s gives %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestRender_Entry(t *testing.T) {
	t.Parallel()
	c := rich()
	cred := c.Key.Status.Credentials[0]
	base := export.Entry{
		Key: types.NamespacedName{Namespace: "default", Name: "shop"}, UID: "uid-shop", Account: "acme", KeyID: cred.ID, Digest: cred.SHA256,
		CreatedAt: c.Key.CreationTimestamp.Time, IssuedAt: cred.IssuedAt.Time,
	}
	for name, tt := range map[string]struct {
		change      func(*v1alpha1.KeyExportSpec)
		name, value string
	}{
		"digest":  {nil, cred.ID, "sha256:" + cred.SHA256},
		"key":     {toSecrets, cred.ID, string([]byte(shopKey))},
		"objects": {func(s *v1alpha1.KeyExportSpec) { s.Layout = v1alpha1.ExportLayoutObjects }, "api-key", "sha256:" + cred.SHA256},
		"both":    {both(toSecrets, entry("{{ .Name }}_{{ .Role }}", "{{ .Key }} {{ .Digest }}")), "shop_Current", string([]byte(shopKey)) + " sha256:" + cred.SHA256},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := compiled(t, tt.change).Render(c, cred, shopKey)
			if err != nil {
				t.Fatal(err)
			}
			want := base
			want.Name, want.Value = tt.name, []byte(tt.value)
			if !cmp.Equal(want, got) {
				t.Errorf("got %+v, value as wanted: %t", got, string([]byte(got.Value)) == tt.value)
			}
			if text := fmt.Sprintf("%v %+v %#v", got, got, got); strings.Contains(text, tt.value) {
				t.Error("the value is printed")
			}
		})
	}
}

func TestRender_Refuses(t *testing.T) {
	t.Parallel()
	other := keystest.CredentialOf("other")
	for name, tt := range map[string]struct {
		spec     func(*v1alpha1.KeyExportSpec)
		key      keystest.KeyOption
		material credential.Material
		want     string
	}{
		"a name with other characters": {entry("{{ .Label }}", ""), keystest.Label("Shop 1"), nil, "entry.name: must render to"},
		"an empty name":                {entry("{{ .Label }}", ""), keystest.Label(""), nil, "entry.name: must render to"},
		"a name that is a parent":      {entry("{{ .Label }}", ""), keystest.Label(".."), nil, "entry.name: must render to"},
		"a long name":                  {entry("{{ .Label }}", ""), keystest.Label(strings.Repeat("a", 254)), nil, "entry.name: must render to"},
		"metadata that the key lacks":  {entry("", "{{ .Digest }} {{ .Metadata.team }}"), keystest.Label(""), nil, `entry.value:1:26: map has no entry for key "team"`},
		"no digest for this key":       {entry("", `{{ if eq .Label "x" }}x{{ else }}{{ .Digest }}{{ end }}`), keystest.Label("x"), nil, "entry.value: must contain {{ .Digest }}"},
		"the digest of another key":    {entry("", "{{ .Digest }} {{ .Label }}"), keystest.Label("sha256:" + other.SHA256), nil, "entry.value: must not contain the digest of anything else"},
		"another digest in upper case": {entry("", "{{ .Digest }} {{ .Label }}"), keystest.Label(strings.ToUpper("sha256:" + other.SHA256)), nil, "entry.value: must not contain the digest"},
		"half a character":             {entry("", `{{ .Digest }} {{ slice .Label 0 1 }}`), keystest.Label("ñ"), nil, "entry.value: must render to valid UTF-8"},
		"a long value":                 {entry("", `{{ .Digest }} {{ range .Scopes }}{{ . }}{{ end }}`), keystest.Scopes(strings.Repeat("s", 17<<10)), nil, "entry.value: must render to at most 16384 bytes"},
		"JSON that only some keys break": {
			entry("", `{"keyHash": {{ quote .Digest }}, "label": {{ if eq .Label "x" }}"{{ .Label }}, "key": "y"{{ else }}""{{ end }}}`), keystest.Label("x"), nil, "entry.value: must render to valid JSON",
		},
		"JSON that a text changes in a branch": {
			entry("", `{"keyHash": {{ quote .Digest }}{{ if gt (len .Label) 12 }}, "label": "{{ .Label }}"{{ end }}}`), keystest.Label(`a", "role": "admin`), nil, "entry.value: must render to valid JSON",
		},
		"JSON that an imported key changes": {
			both(toSecrets, entry("", `{"key": "{{ .Key }}", "account": {{ quote .Account }}}`)), keystest.Label(""), importedKey, "entry.value: the key has characters",
		},
		"more rate limits than allowed": {entry("", "{{ .Digest }}{{ range .Scopes }}{{ end }}"), keystest.Scopes(strings.Split(strings.Repeat("s,", 65), ",")...), nil, "the key has more scopes"},
		"no material":                   {toSecrets, keystest.Label(""), nil, "entry.value: must contain {{ .Key }}"},
		"the material of another key":   {toSecrets, keystest.Label(""), keystest.MaterialOf("other"), "entry.value: must contain {{ .Key }}"},
		"no key for this key":           {both(toSecrets, entry("", `{{ if eq .Label "x" }}x{{ else }}{{ .Key }}{{ end }}`)), keystest.Label("x"), shopKey, "entry.value: must contain {{ .Key }}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCandidate("shop", tt.key)
			cred := c.Key.Status.Credentials[0]
			if slices.Equal(tt.material, importedKey) {
				cred.SHA256 = importedKey.SHA256()
			}
			_, err := compiled(t, tt.spec).Render(c, cred, tt.material)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Fatalf("got %v", err)
			}
			if len(tt.material) > 0 && strings.Contains(err.Error(), string([]byte(tt.material))) {
				t.Error("the error contains the key")
			}
		})
	}
}

// importedKey is a key that a user chose, which changes the structure of JSON unless it is escaped.
var importedKey = credential.Material(`x4Zq9RkW2mT7vB1nL5dY8","role":"admin`)

// jsonEntry is the template of the samples for agentgateway.
const jsonEntry = `{"keyHash": {{ quote .Digest }}, "metadata": {"label": {{ quote .Label }}, "externalID": {{ quote .ExternalID }}, "scopes": {{ quote (join "," .Scopes) }}, "team": {{ quote (index .Metadata "team") }}}}`

// TestRender_HostileTexts draws texts of users. With quote, they stay in their places: the value is JSON of the same
// structure, with the texts as they are. No text makes an entry without the digest.
func TestRender_HostileTexts(t *testing.T) {
	t.Parallel()
	x, loose := compiled(t, entry("", jsonEntry)), compiled(t, entry("{{ .Label }}", "{{ .Label }} {{ .Digest }} {{ .Metadata }}"))
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{`","key":"x`, `\`, `"`, "\x00", "\u2028", "</script>", "{{ .Digest }}", "sha256:", "..", "a"}),
		rapid.StringMatching(`[-._a-zA-Z0-9]{1,60}`))
	rapid.Check(t, func(t *rapid.T) {
		c := newCandidate("shop", keystest.Label(text.Draw(t, "label")), keystest.Metadata(map[string]v1alpha1.MetadataValue{"team": v1alpha1.MetadataValue(text.Draw(t, "team"))}))
		c.Account = keystest.NewAccount("acme", keystest.Policy(func(s *v1alpha1.AccountSpec) { s.ExternalID = text.Draw(t, "external ID") }))
		cred := c.Key.Status.Credentials[0]
		e, err := x.Render(c, cred, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(e.Value, &got); err != nil {
			t.Fatal(err)
		}
		valid := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
		want := map[string]any{"keyHash": "sha256:" + cred.SHA256, "metadata": map[string]any{
			"label": valid(c.Key.Spec.Label), "externalID": valid(c.Account.Spec.ExternalID), "scopes": "", "team": valid(string(c.Key.Spec.Metadata["team"])),
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if e, err = loose.Render(c, cred, nil); err == nil {
			if len(validation.IsConfigMapKey(e.Name)) > 0 || !strings.Contains(string([]byte(e.Value)), "sha256:"+cred.SHA256) {
				t.Fatalf("entry %q has a wrong name, or lacks the digest", e.Name)
			}
		}
	})
}

// TestRender_NamesEqualKubernetes compares the names that templates may render with those that the API server accepts.
func TestRender_NamesEqualKubernetes(t *testing.T) {
	t.Parallel()
	x := compiled(t, entry("{{ .Label }}", ""))
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.StringMatching(`[-._a-zA-Z0-9]{0,5}`), rapid.StringMatching(`[.]{0,3}[-._a-zA-Z0-9/ ]{0,3}`), rapid.StringMatching(`[a]{250,256}`)).Draw(t, "name")
		c := newCandidate("shop", keystest.Label(name))
		_, err := x.Render(c, c.Key.Status.Credentials[0], nil)
		if accepted := len(validation.IsConfigMapKey(name)) == 0; accepted != (err == nil) {
			t.Fatalf("%q: got %v, and the API server accepts it: %t", name, err, accepted)
		}
	})
}

// A name that is made of all values at once does not depend on the key: names of entries are not secret.
func TestRender_NamesAreNotSecret(t *testing.T) {
	t.Parallel()
	x := compiled(t, both(toSecrets, entry(`{{ len (printf "%v" .) }}`, "{{ .Key }}"), func(s *v1alpha1.KeyExportSpec) { s.Layout = v1alpha1.ExportLayoutObjects }))
	c := rich()
	names := map[string]bool{}
	for _, key := range []credential.Material{shopKey, append(slices.Clone(shopKey), "longer"...)} {
		cred := c.Key.Status.Credentials[0]
		cred.SHA256 = key.SHA256()
		e, err := x.Render(c, cred, key)
		if err != nil {
			t.Fatal(err)
		}
		names[e.Name] = true
	}
	if len(names) != 1 {
		t.Errorf("the names are %v", names)
	}
}
