// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
)

// entry returns a change that sets the templates of an entry.
func entry(name, value string) func(*v1alpha1.KeyExportSpec) {
	return func(s *v1alpha1.KeyExportSpec) { s.Entry = &v1alpha1.ExportEntry{Name: name, Value: value} }
}

// both returns a change that makes several changes.
func both(changes ...func(*v1alpha1.KeyExportSpec)) func(*v1alpha1.KeyExportSpec) {
	return func(s *v1alpha1.KeyExportSpec) {
		for _, change := range changes {
			change(s)
		}
	}
}

func TestCompile_Accepts(t *testing.T) {
	t.Parallel()
	inSelector := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: "In", Values: []string{"a"}}}}
	for name, change := range map[string]func(*v1alpha1.KeyExportSpec){
		"defaults": nil,
		"keys":     toSecrets,
		"objects":  func(s *v1alpha1.KeyExportSpec) { s.Layout = v1alpha1.ExportLayoutObjects },
		"selectors": func(s *v1alpha1.KeyExportSpec) {
			s.Accounts, s.Scopes, s.AccountSelector, s.NamespaceSelector = []string{"acme"}, []string{"a:*"}, inSelector, inSelector
		},
		"type of a gateway":      both(toSecrets, func(s *v1alpha1.KeyExportSpec) { s.Target.Type = "nginx.org/apikey" }),
		"all values":             entry("{{ .KeyID }}-{{ lower .Role }}", "{{ . }}"),
		"all values, also .Key":  both(toSecrets, entry("{{ .UID }}.{{ .KeyID }}", "{{ .Account }} {{ .ExternalID }} {{ .Label }} {{ .Scopes }} {{ .Expiration }} {{ .Namespace }} {{ .Name }} {{ .Role }} {{ .Plan }} {{ .Metadata }} {{ .RateLimits }} {{ .Digest }} {{ .Key }}")),
		"JSON":                   entry("", `{"keyHash": {{ quote .Digest }}, "metadata": {"label": {{ quote .Label }}, "id": {{ quote .ExternalID }}, "team": {{ quote (index .Metadata "team") }}}}`),
		"JSON with ranges":       entry("", `{"keyHash": "{{ .Digest }}", "scopes": [{{ range $i, $s := .Scopes }}{{ if $i }}, {{ end }}{{ quote $s }}{{ end }}], "limits": {{"{"}}{{ range $i, $l := .RateLimits }}{{ if $i }},{{ end }}{{ quote .Name }}: {"requests": {{ .Requests }}, "unit": {{ quote .Unit }}}{{ end }}}}`),
		"JSON with metadata":     entry("", `{"keyHash": "{{ .Digest }}", "metadata": {{"{"}}{{ $first := true }}{{ range $n, $v := .Metadata }}{{ if not $first }},{{ end }}{{ $first = false }}{{ quote $n }}: {{ quote $v }}{{ end }}}}`),
		"metadata by a variable": entry("", `{{ $m := .Metadata }}{{ .Digest }} {{ $m.team }}`),
		"an optional value":      entry("", `{"keyHash": "{{ .Digest }}"{{ with index .Metadata "team" }}, "team": {{ quote . }}{{ end }}}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := export.Compile(newExport(change)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCompile_ReportsOneErrorOfASelector checks that the message stays short, however many values are invalid.
func TestCompile_ReportsOneErrorOfASelector(t *testing.T) {
	t.Parallel()
	var values []string
	for i := range 100 {
		values = append(values, strings.Repeat("x", 5000)+strconv.Itoa(i))
	}
	_, err := export.Compile(newExport(func(s *v1alpha1.KeyExportSpec) {
		s.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a b", Operator: "In", Values: values}}}
	}))
	if err == nil || !strings.HasPrefix(err.Error(), "spec.namespaceSelector: must be a valid label selector: key: Invalid value: \"a b\"") || len(err.Error()) > 256 {
		t.Errorf("the error is %.300v", err)
	}
}

func TestCompile_Refuses(t *testing.T) {
	t.Parallel()
	bad := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: "Like", Values: []string{"a"}}}}
	for want, change := range map[string]func(*v1alpha1.KeyExportSpec){
		"spec.accountSelector: must be a valid label selector: \"Like\" is not a valid label selector operator":   func(s *v1alpha1.KeyExportSpec) { s.AccountSelector = bad },
		"spec.namespaceSelector: must be a valid label selector: \"Like\" is not a valid label selector operator": func(s *v1alpha1.KeyExportSpec) { s.NamespaceSelector = bad },
		"spec.content: Key may be written to Secrets only: set spec.target.kind to Secret, or spec.content to Digest": func(s *v1alpha1.KeyExportSpec) {
			s.Content = v1alpha1.ExportContentKey
		},
		"spec.entry.name:1:3: there is no value .Key":                                           both(toSecrets, entry("{{ .Key }}", "{{ .Key }}")),
		"spec.content: must be Digest or Key":                                                   func(s *v1alpha1.KeyExportSpec) { s.Content = "All" },
		"spec.layout: must be Entries or Objects":                                               func(s *v1alpha1.KeyExportSpec) { s.Layout = "Files" },
		"spec.addressRestricted: must be Withhold or Include":                                   func(s *v1alpha1.KeyExportSpec) { s.AddressRestricted = "Maybe" },
		"spec.target.kind: must be Secret or ConfigMap":                                         func(s *v1alpha1.KeyExportSpec) { s.Target.Kind = "Pod" },
		"spec.target.type: may be set for Secrets only":                                         func(s *v1alpha1.KeyExportSpec) { s.Target.Type = "example.com/x" },
		"spec.target.name: must be the name of an object of at":                                 func(s *v1alpha1.KeyExportSpec) { s.Target.Name = "../x" },
		"spec.target.type: Forbidden: must not be a type that Kubernetes or its tools act upon": both(toSecrets, func(s *v1alpha1.KeyExportSpec) { s.Target.Type = "kubernetes.io/service-account-token" }),
		"spec.target.type: Forbidden: must not be a type that Kubernetes":                       both(toSecrets, func(s *v1alpha1.KeyExportSpec) { s.Target.Type = "kubernetes.io/basic-auth" }),
		`spec.target.labels[app.kubernetes.io/managed-by]: Forbidden: must not use the reserved domain kubernetes.io`: func(s *v1alpha1.KeyExportSpec) {
			s.Target.Labels = map[string]string{"app.kubernetes.io/managed-by": "x"}
		},
		`spec.target.annotations[apikey-manager.io/keyexport]: Forbidden`: func(s *v1alpha1.KeyExportSpec) {
			s.Target.Annotations = map[string]string{"apikey-manager.io/keyexport": "x"}
		},
		"spec.entry.value: must contain {{ .Digest }} unchanged":                                entry("", "{{ .KeyID }}"),
		"spec.entry.value: must contain {{ .Digest }} unchanged, so":                            entry("", "constant"),
		"spec.entry.value: must contain {{ .Digest }}":                                          entry("", "{{ upper .Digest }}"),
		"spec.entry.value: must contain {{ .Key }} unchanged":                                   both(toSecrets, entry("", "{{ .Digest }}")),
		"spec.entry.value: must contain {{ .Key }} unchanged, so that":                          both(toSecrets, entry("", "{{ b64enc .Key }}")),
		"spec.entry.value:1:3: there is no value .Key":                                          entry("", "{{ .Key }} {{ .Digest }}"),
		"spec.entry.value:1:9: there is no value .PreviousKey":                                  both(toSecrets, entry("", "{{ quote .PreviousKey }} {{ .Key }}")),
		"spec.entry.value:2:3: there is no value .Nothing":                                      entry("", "{{ .Digest }}\n{{ .Nothing }}"),
		"spec.entry.value:1: function \"env\" not defined":                                      entry("", "{{ env }}"),
		"spec.entry.value:1:9: range is available over .Scopes, .Metadata and .RateLimits only": entry("", "{{ range .Label }}{{ end }}"),
		"spec.entry.name: must differ for each credential":                                      entry("constant", ""),
		"spec.entry.name: must render to 1 to 253 letters, digits and":                          entry("{{ .KeyID }}/{{ .Name }}", ""),
		"spec.entry.name: must render to 1 to 253 letters":                                      entry("..{{ .KeyID }}", ""),
		"spec.entry.value: must render to at most 16384 bytes":                                  entry("", "{{ .Digest }}{{ printf \"%16400d\" 1 }}"),
		"spec.entry.value: must not use .Label without quote":                                   entry("", `{"keyHash": "{{ .Digest }}", "label": "{{ .Label }}"}`),
		"spec.entry.value: must not use .ExternalID without quote":                              entry("", `{"keyHash": "{{ .Digest }}", "id": "{{ .ExternalID }}"}`),
		"spec.entry.value: must not use .Metadata without quote, because a user could add to the JSON value: write {{ quote .Metadata.name }}, without quotation marks around it": entry("", `{"keyHash": "{{ .Digest }}", "tier": {{ .Metadata.tier }}}`),
		"spec.entry.value: must not use .Metadata without quote":                           entry("", `{"keyHash": "{{ .Digest }}"{{ with index .Metadata "team" }}, "team": "{{ . }}"{{ end }}}`),
		"spec.entry.value: must render to valid JSON without repeated names for every key": entry("", `{"keyHash": "{{ .Digest }}", "KEYHASH": "x"}`),
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			if _, err := export.Compile(newExport(change)); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A KeyExport that can't be decoded is refused, because a criterion may be missing.
func TestCompile_Undecodable(t *testing.T) {
	t.Parallel()
	e := newExport(nil)
	e.Undecodable = []string{"spec.accounts"}
	if _, err := export.Compile(e); err == nil || !strings.HasPrefix(err.Error(), "spec.accounts cannot be decoded") {
		t.Errorf("got %v", err)
	}
}

// Compile neither changes the KeyExport nor depends on later changes of it.
func TestCompile_Copies(t *testing.T) {
	t.Parallel()
	e := newExport(func(s *v1alpha1.KeyExportSpec) {
		s.Scopes, s.Entry = []string{"a"}, &v1alpha1.ExportEntry{Name: "{{ .UID }}"}
	})
	x, err := export.Compile(e)
	if err != nil || e.Spec.Content != "" || e.Spec.Entry.Value != "" {
		t.Fatalf("%v %+v", err, e.Spec)
	}
	e.Spec.Scopes[0] = "b"
	if x.Selects(newCandidate("shop")) {
		t.Error("it selects a key without scopes")
	}
}
