// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	ext_authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3" // a type that the bootstrap names
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3" // a type that the bootstrap names
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// No Envoy is run here: it comes neither as a Go module nor from Debian. Its sample is read into Envoy's own types, which
// knows every field and its bounds; that the verifier speaks its protocol is tested in internal/verifier.

// TestEnvoy_TheSampleIsABootstrap reads it as Envoy does, and looks at what must not be got wrong.
func TestEnvoy_TheSampleIsABootstrap(t *testing.T) {
	t.Parallel()
	bootstrap := &bootstrapv3.Bootstrap{}
	readEnvoy(t, bootstrap)
	if err := bootstrap.ValidateAll(); err != nil {
		t.Error(err)
	}
	manager, filter := &hcmv3.HttpConnectionManager{}, &ext_authzv3.ExtAuthz{}
	unpack(t, bootstrap.GetStaticResources().GetListeners()[0].GetFilterChains()[0].GetFilters()[0].GetTypedConfig(), manager)
	unpack(t, manager.GetHttpFilters()[0].GetTypedConfig(), filter)
	if filter.GetFailureModeAllow() || filter.GetClearRouteCache() || filter.GetWithRequestBody() != nil || filter.GetIncludePeerCertificate() {
		t.Errorf("ext_authz is %v", filter)
	}
	if !manager.GetUseRemoteAddress().GetValue() || !manager.GetNormalizePath().GetValue() || !manager.GetMergeSlashes() {
		t.Error("a client chooses its address or another path than the one that is seen")
	}
	clusters := map[string]bool{}
	for _, cluster := range bootstrap.GetStaticResources().GetClusters() {
		clusters[cluster.GetName()] = true
	}
	needs := map[string]map[string]string{}
	for _, route := range manager.GetRouteConfig().GetVirtualHosts()[0].GetRoutes() {
		own := &ext_authzv3.ExtAuthzPerRoute{}
		if config := route.GetTypedPerFilterConfig()[manager.GetHttpFilters()[0].GetName()]; config != nil {
			unpack(t, config, own)
		}
		if own.GetDisabled() || !clusters[route.GetRoute().GetCluster()] {
			t.Errorf("route %s is %v", route.GetMatch().GetPrefix(), route)
		}
		needs[route.GetMatch().GetPrefix()] = own.GetCheckSettings().GetContextExtensions()
	}
	want := map[string]map[string]string{"/orders": {"scopes": "orders:read"}, "/acme": {"account": "acme"}, "/": nil}
	if diff := cmp.Diff(want, needs); diff != "" {
		t.Errorf("routes need something else (-want +got):\n%s", diff)
	}
	if verifier := filter.GetGrpcService().GetEnvoyGrpc().GetClusterName(); !clusters[verifier] {
		t.Errorf("the verifier is cluster %q, which is not there", verifier)
	}
}

func readEnvoy(t *testing.T, into *bootstrapv3.Bootstrap) {
	t.Helper()
	root, err := controlplane.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "config", "samples", "gateways", "envoy", "envoy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	inJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(inJSON, into); err != nil {
		t.Fatal(err)
	}
}

// unpack reads and checks a part that Envoy leaves to an extension.
func unpack[M interface {
	proto.Message
	ValidateAll() error
}](t *testing.T, from *anypb.Any, into M) {
	t.Helper()
	if err := from.UnmarshalTo(into); err != nil {
		t.Fatal(err)
	}
	if err := into.ValidateAll(); err != nil {
		t.Error(err)
	}
}

// TestEnvoyGateway_TheSampleIsAccepted has a real API server hold the sample to Envoy Gateway's own CRDs.
func TestEnvoyGateway_TheSampleIsAccepted(t *testing.T) {
	t.Parallel()
	w := enter(t)
	crds := filepath.Join(w.plane.Root(), "bin", "gateways", "envoy-gateway-crds")
	if _, err := os.Stat(crds); err != nil {
		t.Skipf("SKIPPED: the sample of Envoy Gateway was not tested: there is no %s. Run `make gateways`", crds)
	}
	w.kubectl(t, "apply", "--server-side", "-f", crds)
	w.kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "-f", crds)
	sample := filepath.Join(w.plane.Root(), "config", "samples", "gateways", "envoy-gateway")
	w.kubectl(t, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", sample)
}

func (w *world) kubectl(t *testing.T, args ...string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), w.plane.Kubectl(), append([]string{"--kubeconfig=" + w.plane.Kubeconfig()}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out.String())
	}
}
