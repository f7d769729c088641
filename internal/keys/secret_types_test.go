// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

const (
	basicAuth    = "kubernetes.io/basic-auth"
	dockerConfig = "kubernetes.io/dockerconfigjson"
	dockerEntry  = ".dockerconfigjson"
)

func TestCheckPolicy_RequiredEntries(t *testing.T) {
	t.Parallel()
	const needsUser, needsConfig, needsJSON = "requires an entry username or password", "requires an entry .dockerconfigjson", "must render to a JSON object"
	type data = map[string]string
	for name, tc := range map[string]struct {
		template v1alpha1.SecretTemplate
		label    string
		want     string
	}{
		"a password alone":                {template: v1alpha1.SecretTemplate{Type: basicAuth, Data: data{"password": "{{ .Key }}"}}},
		"a user name alone":               {template: v1alpha1.SecretTemplate{Type: basicAuth, Data: data{"username": "{{ .Key }}"}}},
		"both, and an entry more":         {template: v1alpha1.SecretTemplate{Type: basicAuth, Data: data{"username": "{{ .Account }}", "password": "{{ .Key }}", "more": "x"}}},
		"no entries":                      {template: v1alpha1.SecretTemplate{Type: basicAuth}, want: needsUser},
		"other entries":                   {template: v1alpha1.SecretTemplate{Type: basicAuth, Data: data{"api-key": "{{ .Key }}"}}, want: needsUser},
		"another case":                    {template: v1alpha1.SecretTemplate{Type: basicAuth, Data: data{"Password": "{{ .Key }}"}}, want: needsUser},
		"a user name that is empty":       {template: v1alpha1.SecretTemplate{Type: basicAuth, Data: data{"username": "{{ .ExternalID }}", "api-key": "{{ .Key }}"}}, want: needsUser},
		"a password during overlaps only": {template: v1alpha1.SecretTemplate{Type: basicAuth, Data: data{"password": "{{ .PreviousKey }}", "api-key": "{{ .Key }}"}}, want: needsUser},
		"a password outside of overlaps only": {
			template: v1alpha1.SecretTemplate{Type: basicAuth, Data: data{"password": "{{ if not .PreviousKey }}{{ .Key }}{{ end }}", "api-key": "{{ .Key }}"}}, want: needsUser,
		},

		"a docker configuration":               {template: v1alpha1.SecretTemplate{Type: dockerConfig, Data: data{dockerEntry: `{"auths":{"x":{"password":{{ quote .Key }}}}}`}}},
		"no docker configuration":              {template: v1alpha1.SecretTemplate{Type: dockerConfig}, want: needsConfig},
		"another entry":                        {template: v1alpha1.SecretTemplate{Type: dockerConfig, Data: data{"config.json": `{"x":"{{ .Key }}"}`}}, want: needsConfig},
		"an empty docker configuration":        {template: v1alpha1.SecretTemplate{Type: dockerConfig, Data: data{dockerEntry: "{{ .ExternalID }}", "x": "{{ .Key }}"}}, want: needsConfig},
		"the key where JSON should be":         {template: v1alpha1.SecretTemplate{Type: dockerConfig, Data: data{dockerEntry: "{{ .Key }}"}}, want: needsJSON},
		"a string of JSON":                     {template: v1alpha1.SecretTemplate{Type: dockerConfig, Data: data{dockerEntry: "{{ quote .Key }}"}}, want: needsJSON},
		"a list of JSON":                       {template: v1alpha1.SecretTemplate{Type: dockerConfig, Data: data{dockerEntry: `["{{ .Key }}"]`}}, want: needsJSON},
		"null":                                 {template: v1alpha1.SecretTemplate{Type: dockerConfig, Data: data{dockerEntry: "null", "x": "{{ .Key }}"}}, want: needsJSON},
		"something behind it":                  {template: v1alpha1.SecretTemplate{Type: dockerConfig, Data: data{dockerEntry: `{"x":"{{ .Key }}"} .`}}, want: needsJSON},
		"a label that breaks out of it":        {template: v1alpha1.SecretTemplate{Type: dockerConfig, Data: data{dockerEntry: `{"l":"{{ .Label }}","x":"{{ .Key }}"}`}}, label: `a"b`, want: needsJSON},
		"the same label, quoted":               {template: v1alpha1.SecretTemplate{Type: dockerConfig, Data: data{dockerEntry: `{"l":{{ quote .Label }},"x":"{{ .Key }}"}`}}, label: `a"b`},
		"JSON during overlaps only":            {template: v1alpha1.SecretTemplate{Type: dockerConfig, Data: data{dockerEntry: `{{ if .PreviousKey }}{{ "{}" }}{{ end }}`, "x": "{{ .Key }}"}}, want: needsConfig},
		"a type of another domain, no entries": {template: v1alpha1.SecretTemplate{Type: "example.com/x"}},
		"a name that no file can have":         {template: v1alpha1.SecretTemplate{Data: data{"..": "{{ .Key }}"}}, want: "spec.secret.template.data: Invalid value"},
		"a name that begins with two dots":     {template: v1alpha1.SecretTemplate{Data: data{"..data": "{{ .Key }}"}}, want: "spec.secret.template.data: Invalid value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := keystest.Key("shop", keystest.Template(tc.template), keystest.Label(tc.label))
			r := keys.CheckPolicy(keys.Facts{Key: k, Account: keystest.NewAccount("acme"), Settings: keystest.Settings, Now: keystest.Epoch})
			switch {
			case tc.want == "" && r != nil:
				t.Errorf("refused: %s", r.Message)
			case tc.want != "" && (r == nil || r.Reason != v1alpha1.ReasonInvalidSpec || !strings.HasPrefix(r.Message, "spec.secret.template.data: ") || !strings.Contains(r.Message, tc.want)):
				t.Errorf("got %+v, want InvalidSpec: ...%s...", r, tc.want)
			}
		})
	}
}

// An imported key may have characters that the placeholder keys of the check do not have.
func TestRender_RefusesKeyThatBreaksJSON(t *testing.T) {
	t.Parallel()
	k := keystest.Key("shop", keystest.Template(v1alpha1.SecretTemplate{Type: dockerConfig, Data: map[string]string{dockerEntry: `{"x":"{{ .Key }}"}`}}))
	imported := credential.Credential{Material: credential.Material(`Zx"8Jq\5Lw0Tn3Vb7Yc1Rd6Pf`), PublicPart: credential.PublicPart{ID: "imported0001", Hint: `Zx"8`}}
	_, err := keys.Render(k, keystest.NewAccount("acme"), keys.SecretCredentials{Current: imported})
	if !keys.IsTemplateError(err) || strings.Contains(err.Error(), "8Jq") {
		t.Errorf("got %v, want an error of the template that holds nothing of the key", err)
	}
}

// revocable lists templates of each type of Secret, and the entries that are left once the key is revoked.
var revocable = map[string]struct {
	template v1alpha1.SecretTemplate
	left     map[string][]byte
}{
	"without a template": {},
	"metadata alone":     {template: v1alpha1.SecretTemplate{Labels: map[string]string{"example.com/a": "b"}}},
	"a type alone":       {template: v1alpha1.SecretTemplate{Type: "example.com/x"}},
	"entries": {template: v1alpha1.SecretTemplate{Data: map[string]string{
		"key": "{{ .Key }}", "api_key": "{{ .Key }}", "auth": "{{ .Account }}:{{ .Key }}", "password": "{{ .Key }}", "constant": "constant",
	}}},
	"a password": {
		template: v1alpha1.SecretTemplate{Type: basicAuth, Data: map[string]string{"password": "{{ .Key }}", "key": "{{ .Key }}"}},
		left:     map[string][]byte{"password": {}},
	},
	"a user name": {
		template: v1alpha1.SecretTemplate{Type: basicAuth, Data: map[string]string{"username": "{{ .Key }}"}},
		left:     map[string][]byte{"username": {}},
	},
	"a user name and a password": {
		template: v1alpha1.SecretTemplate{Type: basicAuth, Data: map[string]string{"username": "{{ .Account }}", "password": "{{ .Key }}"}},
		left:     map[string][]byte{"password": {}},
	},
	"a docker configuration": {
		template: v1alpha1.SecretTemplate{Type: dockerConfig, Data: map[string]string{dockerEntry: `{"auths":{"x":{"password":"{{ .Key }}"}}}`, "key": "{{ .Key }}"}},
		left:     map[string][]byte{dockerEntry: []byte(`{"auths":{}}`)},
	},
}

// gateways lists the rules by which gateways take credentials from a Secret. Each returns what the gateway would
// accept.
var gateways = map[string]func(keys.SecretContent) []string{
	"Envoy Gateway takes each entry of an Opaque Secret for a client's key, be it empty": func(s keys.SecretContent) (admits []string) {
		for name, value := range s.Data {
			if s.Type == "Opaque" {
				admits = append(admits, name+"="+string(value))
			}
		}
		return admits
	},
	"Kong takes entry key":                      entries("key"),
	"APISIX takes entry key":                    entries("key"),
	"Authorino takes entry api_key":             entries("api_key"),
	"ingress-nginx takes the lines of auth":     entries("auth"),
	"HAProxy takes each entry for a user's":     everyEntryThatIsNotEmpty,
	"ingress-nginx's auth-map takes each entry": everyEntryThatIsNotEmpty,
	"Traefik takes both entries of basic-auth, be they empty, or the one entry of another Secret": func(s keys.SecretContent) []string {
		username, hasUsername := s.Data["username"]
		password, hasPassword := s.Data["password"]
		switch {
		case s.Type == basicAuth && hasUsername && hasPassword:
			return []string{string(username) + ":" + string(password)}
		case s.Type == basicAuth:
			return nil
		}
		return everyEntryThatIsNotEmpty(s)
	},
}

func entries(name string) func(keys.SecretContent) []string {
	return func(s keys.SecretContent) []string {
		if value, exists := s.Data[name]; exists {
			return []string{string(value)}
		}
		return nil
	}
}

func everyEntryThatIsNotEmpty(s keys.SecretContent) (admits []string) {
	for name, value := range s.Data {
		if len(value) > 0 && name != dockerEntry { // a type of its own, which gateways do not read
			admits = append(admits, string(value))
		}
	}
	return admits
}

// Whatever the template, a gateway takes nothing in the Secret of a revoked key for a credential.
func TestRender_RevokedSecretHoldsNoCredential(t *testing.T) {
	t.Parallel()
	for name, tc := range revocable {
		k, a := keystest.Key("shop"), keystest.NewAccount("acme")
		if name != "without a template" {
			keystest.Template(tc.template)(k)
		}
		live, err := keys.Render(k, a, keys.SecretCredentials{Current: credentialOf("default/shop")})
		if err != nil || live.Annotations[keys.AnnotationRevoked] != "" {
			t.Fatalf("%s: %v, with annotations %v", name, err, live.Annotations)
		}
		revoked, err := keys.Render(k, a, keys.SecretCredentials{Revoked: true})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.left, revoked.Data); len(tc.left)+len(revoked.Data) > 0 && diff != "" {
			t.Errorf("%s: entries (-want +got):\n%s", name, diff)
		}
		if revoked.Annotations[keys.AnnotationRevoked] == "" {
			t.Errorf("%s: no annotation says that the key was revoked", name)
		}
		for rule, admits := range gateways {
			if got := admits(revoked); len(got) > 0 {
				t.Errorf("%s: %s, and would admit %q", name, rule, got)
			}
		}
	}
	live, err := keys.Render(keystest.Key("shop"), keystest.NewAccount("acme"), keys.SecretCredentials{Current: credentialOf("default/shop")})
	if err != nil || len(everyEntryThatIsNotEmpty(live)) != 1 {
		t.Error("the rules see no key in a Secret that has one")
	}
}
