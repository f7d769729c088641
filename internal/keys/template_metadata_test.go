// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// richWithMetadata returns the key and the account of rich with metadata. The account has tier, and the key has tier, too.
func richWithMetadata(entries map[string]string) (*v1alpha1.APIKey, *v1alpha1.Account) {
	k, a := rich(entries)
	k.Spec.Metadata = map[string]v1alpha1.MetadataValue{"team": "shop", "tier": "gold"}
	a.Spec.Metadata = map[string]v1alpha1.MetadataValue{"tier": "basic"}
	return k, a
}

func TestRender_TemplateMetadata(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{{ .Metadata.team }}/{{ len .Metadata }}":                                 "shop/2",
		"{{ .Metadata.team }}/{{ .Metadata.tier }}":                                "shop/basic",
		`{{ index .Metadata "team" }}{{ index .Metadata "none" }}`:                 "shop",
		`{{ with index .Metadata "none" }}{{ . }}{{ else }}no{{ end }}`:            "no",
		"{{ with .Metadata }}{{ .team }}{{ end }}":                                 "shop",
		"{{ range .Metadata }}[{{ . }}]{{ end }}":                                  "[shop][basic]",
		"{{ range $name, $value := .Metadata }}{{ $name }}={{ $value }};{{ end }}": "team=shop;tier=basic;",
	} {
		k, a := richWithMetadata(map[string]string{"key": "{{ .Key }}", "x": text})
		content, err := keys.Render(k, a, keys.SecretCredentials{Current: credentialOf("now")})
		if err != nil || string(content.Data["x"]) != want {
			t.Errorf("%s gives %q, %v, want %q", text, content.Data["x"], err, want)
		}
		if r := keys.CheckPolicy(keys.Facts{Key: k, Account: a, Settings: keystest.Settings, Now: keystest.Epoch}); r != nil {
			t.Errorf("%s is refused: %v", text, r)
		}
	}
}

func TestCheckPolicy_TemplateMetadata(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{{ .Key }}\n{{ .Metadata.none }}":         `spec.secret.template.data: template: x:2:12: map has no entry for key "none"`,
		"{{ .Metadata.team.name }}":                "can't evaluate field name in type string",
		"{{ range $.Metadata }}{{ end }}":          "range is available over .Scopes and .Metadata only",
		"{{ range .Metadata.team }}{{ end }}":      "range is available over .Scopes and .Metadata only",
		"{{ range .Metadata }}{{ range .Scopes }}": "not within another range",
		"{{ eq .Metadata .Metadata }}":             "only strings",
		`{{ join "," .Metadata }}`:                 "must have a separator and a list of strings",
	} {
		if strings.Contains(text, "range .Scopes") {
			text += "{{ end }}{{ end }}"
		}
		k, a := richWithMetadata(map[string]string{"key": "{{ .Key }}", "x": text})
		r := keys.CheckPolicy(keys.Facts{Key: k, Account: a, Settings: keystest.Settings, Now: keystest.Epoch})
		if r == nil || r.Reason != v1alpha1.ReasonInvalidSpec || !strings.Contains(r.Message, want) {
			t.Errorf("%s: got %v, want %q", text, r, want)
		}
	}
}

// A key without metadata has no entry, not an empty one.
func TestCheckPolicy_TemplateWithoutMetadata(t *testing.T) {
	t.Parallel()
	k, a := rich(map[string]string{"key": "{{ .Key }}", "x": "{{ .Metadata.team }}"})
	want := `spec.secret.template.data: template: x:1:12: map has no entry for key "team"`
	if r := keys.CheckPolicy(keys.Facts{Key: k, Account: a, Settings: keystest.Settings, Now: keystest.Epoch}); r == nil || r.Message != want {
		t.Errorf("got %v, want %s", r, want)
	}
}

// A user who writes a key into the metadata of its APIKey cannot pass it off as {{ .Key }}.
func TestCheckPolicy_MetadataIsNoKey(t *testing.T) {
	t.Parallel()
	current := credentialOf("now")
	for _, text := range []string{"{{ .Metadata.copy }}", "{{ .Metadata }}", "{{ range .Metadata }}{{ . }}{{ end }}", "{{ if eq .Metadata.copy .Key }}{{ .Key }}{{ end }}"} {
		k, a := rich(map[string]string{"x": text})
		k.Spec.Metadata = map[string]v1alpha1.MetadataValue{"copy": v1alpha1.MetadataValue([]byte(current.Material))}
		if r := keys.CheckPolicy(keys.Facts{Key: k, Account: a, Settings: keystest.Settings, Now: keystest.Epoch}); r == nil || !strings.Contains(r.Message, "no entry contains {{ .Key }} unchanged") {
			t.Errorf("%s is accepted: %v", text, r)
		}
	}
}

// Hints of the key in metadata cannot hide the key, nor make the search for it long.
func TestRender_MetadataFullOfHints(t *testing.T) {
	t.Parallel()
	current := credentialOf("now")
	k, a := rich(map[string]string{"x": "{{ range .Metadata }}{{ . }}{{ end }}{{ .Key }}"})
	k.Spec.Metadata = map[string]v1alpha1.MetadataValue{}
	for name := range strings.SplitSeq("abcdefghijklmnop", "") {
		k.Spec.Metadata[name] = v1alpha1.MetadataValue(strings.Repeat(current.Hint, 256/len(current.Hint)))
	}
	content, err := keys.Render(k, a, keys.SecretCredentials{Current: current})
	if err != nil {
		t.Fatal(err)
	}
	keystest.WithCredential("now", v1alpha1.RoleCurrent, keystest.Epoch)(k)
	if observed, _ := keys.InspectSecret(k, a, content, "8"); observed.Current.SHA256 != current.Material.SHA256() || observed.Drifted {
		t.Errorf("the key is not found: %+v", observed)
	}
}

// TestTemplateHash_WithoutMetadata compares hashes with those of the release before metadata existed. If they differed,
// the upgrade of the manager would write all Secrets.
func TestTemplateHash_WithoutMetadata(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"{{ .Key }}": "b1789c47dad2f96b8f7a5d684f3e79c1", "{{ .Key }} {{ . }}": "9eb2c0d8560d7c7654e08cde5c46296b"} {
		if got := keys.TemplateHash(rich(map[string]string{"key": text})); got != want {
			t.Errorf("%s: the hash is %s, want %s", text, got, want)
		}
	}
}

// Metadata changes the hash of the templates that can use it, and of no others.
func TestTemplateHash_Metadata(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"{{ .Key }} {{ .ExternalID }} https://api.example.com:": false, "": false,
		"{{ .Key }} {{ .Metadata.tier }}": true, `{{ .Key }} {{ index .Metadata "tier" }}`: true, "{{ .Key }} {{ $.Metadata.tier }}": true,
		"{{ .Key }} {{.}}": true, "{{ .Key }} {{ print . }}": true, "{{ .Key }} {{$}}": true, "{{ with $x := . }}{{ .Key }}{{ $x }}{{ end }}": true,
	} {
		k, a := richWithMetadata(map[string]string{"key": text})
		was, before := keys.TemplateHash(k, a), rendered(t, k, a)
		a.Spec.Metadata["tier"] = "silver"
		if changes := keys.TemplateHash(k, a) != was; changes != want {
			t.Errorf("%s: the hash changes with metadata: %t, want %t", text, changes, want)
		}
		if changes := rendered(t, k, a) != before; changes && !want {
			t.Errorf("%s: the Secret changes with metadata, and its hash does not", text)
		}
	}
}

// rendered returns the entry key of a rendered Secret.
func rendered(t *testing.T, k *v1alpha1.APIKey, a *v1alpha1.Account) string {
	t.Helper()
	content, err := keys.Render(k, a, keys.SecretCredentials{Current: credentialOf("now")})
	if err != nil && k.Spec.Secret.Template.Data["key"] != "" {
		t.Fatal(err)
	}
	return string(content.Data["key"])
}

// A template with labels alone does not use metadata.
func TestTemplateHash_MetadataWithoutEntries(t *testing.T) {
	t.Parallel()
	k, a := keystest.Key("shop", keystest.Template(v1alpha1.SecretTemplate{Labels: map[string]string{"a": "b"}})), keystest.NewAccount("acme")
	was := keys.TemplateHash(k, a)
	k.Spec.Metadata = map[string]v1alpha1.MetadataValue{"team": "shop"}
	if keys.TemplateHash(k, a) != was {
		t.Error("the hash changes with metadata")
	}
}
