// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func credentialOf(name string) credential.Credential {
	return keystest.NewCredential(name)
}

func rich(entries map[string]string) (*v1alpha1.APIKey, *v1alpha1.Account) {
	k := keystest.Key("shop", keystest.Namespace("web"), keystest.Label(`Clave "A" <b> & ñ`), keystest.Scopes("a:read", "b:*"),
		keystest.Expiration("2027-02-28"), keystest.Data(entries))
	return k, keystest.NewAccount("acme", keystest.Zone("Europe/Madrid"), keystest.Policy(func(a *v1alpha1.AccountSpec) { a.ExternalID = "EXT-7" }))
}

func TestRender_Template(t *testing.T) {
	t.Parallel()
	now, before := credentialOf("now"), credentialOf("before")
	key, previous := string([]byte(now.Material)), string([]byte(before.Material))
	for text, want := range map[string]string{
		"{{ .Key }}":                                      key,
		"{{ .PreviousKey }}":                              previous,
		"{{ .KeyID }}":                                    now.ID,
		"{{ .Account }}/{{ .ExternalID }}":                "acme/EXT-7",
		"{{ .Label }}":                                    `Clave "A" <b> & ñ`,
		"{{ .Label | quote }}":                            `"Clave \"A\" <b> & ñ"`,
		`{{ join "," .Scopes }}`:                          "a:read,b:*",
		"{{ range .Scopes }}[{{ . }}]{{ end }}":           "[a:read][b:*]",
		"{{ range $i, $s := .Scopes }}{{ $s }};{{ end }}": "a:read;b:*;",
		"{{ .Expiration }}":                               "2027-02-27T23:00:00Z",
		"{{ .Namespace }}/{{ .Name }}":                    "web/shop",
		`{{ b64enc "user" }}`:                             "dXNlcg==",
		`{{ upper .Name }}{{ lower "ABC" }}`:              "SHOPabc",
		"{{ if .PreviousKey }}two{{ else }}one{{ end }}":  "two",
		"{{ with .ExternalID }}{{ . }}{{ end }}":          "EXT-7",
		"":                                                "",
	} {
		k, a := rich(map[string]string{"key": "{{ .Key }}", "x": text})
		content, err := keys.Render(k, a, keys.SecretCredentials{Current: now, Previous: before})
		if err != nil || string(content.Data["x"]) != want {
			// a failure of this test shows test keys only
			t.Errorf("%s gives %q, %v, want %q", text, content.Data["x"], err, want)
		}
		if strings.Contains(text, "$i, $s") {
			continue
		}
		if r := keys.CheckPolicy(keys.Facts{Key: k, Account: a, Settings: keystest.Settings, Now: keystest.Epoch}); r != nil {
			t.Errorf("%s is refused: %v", text, r)
		}
	}
}

// The message for an invalid template has its position, and never key material.
func TestCheckPolicy_Template(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"does not parse":            {"one\n{{ .Key", "x:2: unclosed action"},
		"an unknown function":       {`{{ env "HOME" }}`, `x:1: function "env" not defined`},
		"an unknown value":          {"{{ .Key }}\n {{ .Nope }}", "x:2:4"},
		"a function misused":        {"{{ .Key }}{{ join .Key .Scopes 3 }}", "x:1"},
		"an index out of range":     {"{{ index .Scopes 9 }}", "x:1:3"},
		"a loop over a number":      {"{{ range 1000000000 }}x{{ end }}", "range is available over .Scopes and .Metadata only"},
		"a loop in a loop":          {"{{ range .Scopes }}{{ range $.Scopes }}x{{ end }}{{ end }}", "not within another range"},
		"a loop in the else of one": {"{{ if .Key }}{{ else }}{{ range 9 }}{{ end }}{{ end }}", "range is available over .Scopes and .Metadata only"},
		"a loop over a string":      {"{{ range .Key }}{{ end }}", "range is available over .Scopes and .Metadata only"},
		"define":                    {`{{ define "a" }}{{ template "a" }}{{ end }}`, "define and block are not available"},
		"block":                     {`{{ block "a" . }}x{{ end }}`, "define and block are not available"},
		"template":                  {`{{ template "x" . }}`, "template is not available"},
		"output without end": {
			`{{ printf "%999999d" 1 }}`, "x:1:3: error calling printf: the template produces more than 262144 bytes",
		},
		"values without end": {
			"{{ $a := .Key }}{{ range .Scopes }}{{ $a = print " + strings.Repeat("$a ", 64) + "}}{{ end }}",
			"error calling print: the template produces more than 262144 bytes",
		},
		"a comparison of lists": {"{{ eq .Scopes .Scopes }}", "x:1:3: error calling eq: only strings"},
		"a comparison of all":   {"{{ eq . . }}", "x:1:3: error calling eq: only strings"},
		"a call of a value":     {"{{ .Key | call }}", `function "call" not defined`},
		"oversized output":      {`{{ printf "%70000d" 1 }}`, "x:1:3: the entry is longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, a := rich(map[string]string{"key": "{{ .Key }}", "x": tc.text})
			start := time.Now()
			r := keys.CheckPolicy(keys.Facts{Key: k, Account: a, Settings: keystest.Settings, Now: keystest.Epoch})
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("it took %s to refuse", took)
			}
			if r == nil || r.Reason != v1alpha1.ReasonInvalidSpec || !strings.Contains(r.Message, tc.want) || !strings.HasPrefix(r.Message, "spec.secret.template.data") {
				t.Fatalf("got %v, want %q", r, tc.want)
			}
			secret := keystest.MaterialOf("now")
			_, err := keys.Render(k, a, keys.SecretCredentials{Current: credentialOf("now"), Previous: credentialOf("now")})
			if err == nil || strings.Contains(err.Error(), string([]byte(secret))) || strings.Contains(r.Message, "KKKK") {
				t.Errorf("an error that is none, or holds material: %v", r)
			}
		})
	}
}

func TestCheckPolicy_TemplateMustContainKey(t *testing.T) {
	t.Parallel()
	for text, wantRefused := range map[string]bool{
		"{{ .Key }}": false, "x-{{ .Key }}-y": false, `{"key": {{ .Key | quote }}}`: false,
		"{{ .Key | b64enc }}": true, "{{ .Key | lower }}": true, "{{ .PreviousKey }}": true, "none": true,
		"{{ if .PreviousKey }}{{ .Key }}{{ end }}": true,
	} {
		k, a := rich(map[string]string{"x": text})
		if r := keys.CheckPolicy(keys.Facts{Key: k, Account: a, Settings: keystest.Settings, Now: keystest.Epoch}); (r != nil) != wantRefused {
			t.Errorf("%s: %v, want refused: %t", text, r, wantRefused)
		}
	}
}

// TestInspectSecret_FindsRenderedCredentials rotates a key with each template.
func TestInspectSecret_FindsRenderedCredentials(t *testing.T) {
	t.Parallel()
	for name, template := range map[string]*v1alpha1.SecretTemplate{
		"default": nil, "metadata alone": {Labels: map[string]string{"a": "b"}}, "Kong": templates[1], "JSON": templates[2], "two entries": templates[4],
	} {
		for overlap, withOverlap := range map[string]bool{"with overlap": true, "without overlap": false} {
			t.Run(name+" "+overlap, func(t *testing.T) {
				t.Parallel()
				old, next := credentialOf("default/shop"), credentialOf("next")
				k, a := keystest.Key("shop", keystest.Issued(keystest.Epoch)), keystest.NewAccount("acme")
				if template != nil {
					keystest.Template(*template)(k)
				}
				keystest.PreviousKey(v1alpha1.PreviousKeyInclude)(k)
				write := func(c keys.SecretCredentials) keys.ObservedSecret {
					t.Helper()
					content, err := keys.Render(k, a, c)
					if err != nil {
						t.Fatal(err)
					}
					observed, found := keys.InspectSecret(k, a, content, "8")
					if template == nil || len(template.Data) == 0 || strings.Contains(template.Data["config.json"], "Prev") || template.Data["previous-api-key"] != "" {
						if !reflect.DeepEqual(found, c) {
							t.Fatalf("found %+v, want %+v", found, c)
						}
					}
					if observed.Drifted || observed.Current.SHA256 == "" {
						t.Fatalf("what was just rendered has drifted: %+v", observed)
					}
					return observed
				}
				c := keys.SecretCredentials{Current: old}
				write(c)
				keystest.WithCredential("lost", v1alpha1.RoleStaged, keystest.Epoch)(k)
				keystest.WithCredential("next", v1alpha1.RoleStaged, keystest.Epoch)(k)
				if observed := write(c); observed.Current.SHA256 != old.Material.SHA256() {
					t.Fatalf("the current credential is not found: %+v", observed)
				}
				c = keys.Apply(keys.PromoteStaged{WithOverlap: withOverlap}, c, next)
				if observed := write(c); observed.Current.SHA256 != next.Material.SHA256() {
					t.Fatalf("the promoted credential is not found: %+v", observed)
				}
			})
		}
	}
}

// TestRender_PreviousKey checks spec.secret.previousKey without a template, also if it changes during an overlap.
func TestRender_PreviousKey(t *testing.T) {
	t.Parallel()
	a, credentials := keystest.NewAccount("acme"), keys.SecretCredentials{Current: credentialOf("default/shop"), Previous: credentialOf("before")}
	key := func(policy v1alpha1.PreviousKeyPolicy) *v1alpha1.APIKey {
		return keystest.Key("shop", keystest.Issued(keystest.Epoch), keystest.WithCredential("before", v1alpha1.RolePrevious, keystest.Epoch), keystest.PreviousKey(policy))
	}
	for policy, want := range map[v1alpha1.PreviousKeyPolicy]bool{"": false, v1alpha1.PreviousKeyOmit: false, v1alpha1.PreviousKeyInclude: true} {
		content, err := keys.Render(key(policy), a, credentials)
		if err != nil {
			t.Fatal(err)
		}
		if _, has := content.Data[keys.EntryPrevious]; has != want {
			t.Errorf("previousKey %q: the Secret has the previous key: %t", policy, has)
		}
		if observed, _ := keys.InspectSecret(key(policy), a, content, "8"); observed.Drifted || observed.HasPrevious != want {
			t.Errorf("previousKey %q: what was just rendered is taken for %+v", policy, observed)
		}
		for other := range map[v1alpha1.PreviousKeyPolicy]bool{v1alpha1.PreviousKeyOmit: true, v1alpha1.PreviousKeyInclude: true} {
			unchanged := (other == v1alpha1.PreviousKeyInclude) == want
			if observed, _ := keys.InspectSecret(key(other), a, content, "8"); observed.Drifted == unchanged {
				t.Errorf("previousKey %q becomes %s: drifted is %t", policy, other, observed.Drifted)
			}
			if same := keys.TemplateHash(key(other), a) == content.Annotations[keys.AnnotationTemplateHash]; same != unchanged {
				t.Errorf("previousKey %q becomes %s: the metadata shows a change: %t", policy, other, !same)
			}
		}
	}
}

func TestInspectSecret_DetectsDrift(t *testing.T) {
	t.Parallel()
	k, a := keystest.Key("shop", keystest.Issued(keystest.Epoch)), keystest.NewAccount("acme")
	for name, edit := range map[string]func(*keys.SecretContent){
		"an entry more":     func(s *keys.SecretContent) { s.Data["more"] = []byte("x") },
		"a label less":      func(s *keys.SecretContent) { delete(s.Labels, keys.LabelAccount) },
		"another label":     func(s *keys.SecretContent) { s.Labels[keys.LabelAccount] = "zeta" },
		"a previous key":    func(s *keys.SecretContent) { s.Data[keys.EntryPrevious] = []byte("garbage") },
		"a shape of no use": func(s *keys.SecretContent) { s.Annotations[keys.AnnotationTemplateHash] = "x" },
	} {
		content, _ := keys.Render(k, a, keys.SecretCredentials{Current: credentialOf("default/shop")})
		edit(&content)
		if observed, _ := keys.InspectSecret(k, a, content, "8"); !observed.Drifted {
			t.Errorf("%s is not seen", name)
		}
	}
	content, _ := keys.Render(k, a, keys.SecretCredentials{Current: credentialOf("default/shop")})
	content.Labels["mine"], content.Annotations["mine"] = "x", "y"
	if observed, _ := keys.InspectSecret(k, a, content, "8"); observed.Drifted {
		t.Error("metadata of others counts as drift")
	}
}

func TestTemplateHash(t *testing.T) {
	t.Parallel()
	k, a := rich(map[string]string{"key": "{{ .Key }}"})
	was := keys.TemplateHash(k, a)
	for name, change := range map[string]func(*v1alpha1.APIKey, *v1alpha1.Account){
		"label":       func(k *v1alpha1.APIKey, _ *v1alpha1.Account) { k.Spec.Label = "other" },
		"external id": func(_ *v1alpha1.APIKey, a *v1alpha1.Account) { a.Spec.ExternalID = "other" },
		"expiration":  func(k *v1alpha1.APIKey, _ *v1alpha1.Account) { k.Spec.Expiration = "2028-01-01" },
		"time zone":   func(_ *v1alpha1.APIKey, a *v1alpha1.Account) { a.Spec.TimeZone = "UTC" },
		"scopes":      func(k *v1alpha1.APIKey, _ *v1alpha1.Account) { k.Spec.Scopes = []string{"c"} },
		"template":    func(k *v1alpha1.APIKey, _ *v1alpha1.Account) { k.Spec.Secret.Template.Data["key"] = "x{{ .Key }}" },
		"labels": func(k *v1alpha1.APIKey, _ *v1alpha1.Account) {
			k.Spec.Secret.Template.Labels = map[string]string{"a": "b"}
		},
	} {
		k, a := k.DeepCopy(), a.DeepCopy()
		if change(k, a); keys.TemplateHash(k, a) == was {
			t.Errorf("another %s does not show", name)
		}
	}
	other := k.DeepCopy()
	keystest.WithCredential("next", v1alpha1.RoleCurrent, keystest.Epoch)(other)
	if keys.TemplateHash(other, a) != was {
		t.Error("the digest changes with the material")
	}
	if keys.TemplateHash(keystest.Key("shop"), a) != "" {
		t.Error("a key without a template has a digest")
	}
}

// A credential that already has a notAfter time does not get a later one.
func TestDescribe_OverlapRespectsNotAfter(t *testing.T) {
	t.Parallel()
	now := keystest.Epoch.Add(time.Hour)
	for name, tc := range map[string]struct{ own, want time.Time }{
		"its own end is sooner": {now.Add(time.Hour), now.Add(time.Hour)}, "its own end is later": {now.Add(90 * time.Hour), now.Add(24 * time.Hour)},
	} {
		k := keystest.Key("shop", keystest.Issued(keystest.Epoch), keystest.WithCredential("next", v1alpha1.RoleStaged, now), keystest.Status(func(s *v1alpha1.APIKeyStatus) {
			s.Credentials[0].NotAfter = at(tc.own)
		}))
		observed := keystest.ObservedSecret("next")
		observed.HasPrevious = true
		after := keys.Describe(keys.Facts{Key: k, Account: keystest.NewAccount("acme", keystest.Slots(k)), Secret: observed, Settings: keystest.Settings, Now: now})
		if old := of(after, k.Status.Credentials[0].SHA256); old == nil || old.Role != v1alpha1.RolePrevious || !old.NotAfter.Time.Equal(tc.want) {
			t.Errorf("%s: %v, want an end at %s", name, old, tc.want)
		}
	}
}

func at(t time.Time) *metav1.Time { return &metav1.Time{Time: t} }
