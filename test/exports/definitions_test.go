// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// definition says where a module that hack/gateways pins has the CustomResourceDefinition of a gateway's own resource.
type definition struct {
	file, kind, tools, module, path string
}

var definitions = []definition{
	{"envoy-gateway.yaml", "SecurityPolicy", "envoy-gateway", envoyGatewayModule, envoyGatewayCRDs + "gateway.envoyproxy.io_securitypolicies.yaml"},
	{"envoy-gateway.yaml", "ClientTrafficPolicy", "envoy-gateway", envoyGatewayModule, envoyGatewayCRDs + "gateway.envoyproxy.io_clienttrafficpolicies.yaml"},
	{"external-secrets.yaml", "PushSecret", "external-secrets", "github.com/external-secrets/external-secrets", "config/crds/bases/external-secrets.io_pushsecrets.yaml"},
}

const (
	envoyGatewayModule = "github.com/envoyproxy/gateway"
	envoyGatewayCRDs   = "charts/gateway-helm/charts/crds/crds/generated/"
)

// TestSamples_AreAcceptedByDefinitions checks the gateways' own resources of the samples as an API server does.
func TestSamples_AreAcceptedByDefinitions(t *testing.T) {
	t.Parallel()
	for _, d := range definitions {
		t.Run(d.kind, func(t *testing.T) {
			t.Parallel()
			kind, err := crd.ReadFile(filepath.Join(moduleDir(t, d.tools, d.module), filepath.FromSlash(d.path)))
			if err != nil {
				t.Fatal(err)
			}
			obj := readSample(t, d.file).resources[d.kind]
			if _, err := (crd.Kinds{d.kind: kind}).For(obj); err != nil {
				t.Fatal(err)
			}
			if _, errs := kind.Create(t.Context(), obj); len(errs) > 0 {
				t.Error(errs.ToAggregate())
			}
			spec, _ := obj["spec"].(crd.Object)
			spec["noSuchField"] = true
			if _, errs := kind.Create(t.Context(), obj); len(errs) == 0 {
				t.Error("an unknown field is accepted")
			}
		})
	}
}

// moduleDir returns the directory in the module cache of a module that a module of hack/gateways pins.
func moduleDir(t *testing.T, tools, module string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	cmd.Dir = filepath.Join(root(t), "hack", "gateways", tools)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("download %s: %v: %s", module, err, out)
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal(out, &downloaded); err != nil || downloaded.Dir == "" {
		t.Fatalf("download %s: %v: %s", module, err, out)
	}
	return downloaded.Dir
}
