// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Every gateway of the samples gives the spec of its sample, and no name of the sample stays in what the gateway needs.
func TestGateways_AreThoseOfTheSamples(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"agentgateway", "apisix", "authorino", "envoy-gateway", "gloo", "kgateway", "kong", "nginx"} {
		if !slices.Contains(gatewayNames(), name) {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range gatewayNames() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sample, err := findGateway(name)
			if err != nil {
				t.Fatal(err)
			}
			spec, err := sample.spec("", "web-keys")
			if err != nil {
				t.Fatal(err)
			}
			want := *sample.export.Spec.DeepCopy()
			want.Target.Name = "web-keys"
			if want.Target.Labels["example.com/api-keys"] != "" {
				want.Target.Labels["example.com/api-keys"] = "web-keys"
			}
			if diff := cmp.Diff(want, spec); diff != "" {
				t.Errorf("the spec is not that of the sample (-want +got):\n%s", diff)
			}
			if sample.export.Spec.Accounts != nil || sample.export.Name != name || sample.export.Kind != "KeyExport" {
				t.Errorf("the sample is %+v", sample.export)
			}
			x := &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: "mesh", Name: "web"}, Spec: spec}
			got := sample.resourcesFor(x)
			if !strings.Contains(got, "namespace: mesh\n") || !strings.Contains(got, "\nkind: ") {
				t.Errorf("the resources are\n%s", got)
			}
			for _, text := range []string{"namespace: gateway\n", "-n gateway", sample.export.Spec.Target.Name, gatewayLabel + ": " + name, gatewayLabel + "=" + name} {
				if strings.Contains(got, text) {
					t.Errorf("%q stays in\n%s", text, got)
				}
			}
		})
	}
}

func TestGateways_Content(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		gateway, content string
		want             v1alpha1.ExportContent
		wantError        string
	}{
		{"agentgateway", "", v1alpha1.ExportContentDigest, ""},
		{"agentgateway", "Digest", v1alpha1.ExportContentDigest, ""},
		{"agentgateway", "Key", "", `invalid value of --content: "Key": agentgateway reads content Digest`},
		{"external-secrets", "Key", v1alpha1.ExportContentKey, ""},
		{"nginx", "", v1alpha1.ExportContentKey, ""},
		{"nginx", "Digest", "", `invalid value of --content: "Digest": nginx reads content Key`},
		{"nginx", "Hash", "", `invalid value of --content: "Hash": must be Digest or Key`},
	} {
		t.Run(tc.gateway+" "+tc.content, func(t *testing.T) {
			t.Parallel()
			sample, err := findGateway(tc.gateway)
			if err != nil {
				t.Fatal(err)
			}
			spec, err := sample.spec(tc.content, "web-keys")
			if tc.wantError != "" && (err == nil || err.Error() != tc.wantError) || tc.wantError == "" && (err != nil || spec.Content != tc.want) {
				t.Errorf("got content %s and error %v", spec.Content, err)
			}
		})
	}
	for _, name := range []string{"", "../embed", "envoy/export", "Kong"} {
		if _, err := findGateway(name); err == nil || !strings.Contains(err.Error(), "agentgateway, apisix") {
			t.Errorf("gateway %q: %v", name, err)
		}
	}
}
