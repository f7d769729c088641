// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ext_authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3" // a type that the bootstrap names
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	header_mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3" // a type that the bootstrap names
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// These tests do not run Envoy, which is neither a Go module nor a Debian package. They parse its sample with Envoy's own
// types, which validate every field. The ext_authz protocol of the verifier is tested in internal/verifier.

// TestEnvoy_SampleIsValidBootstrap parses the sample as Envoy does, and checks the settings that matter for security.
func TestEnvoy_SampleIsValidBootstrap(t *testing.T) {
	t.Parallel()
	bootstrap := &bootstrapv3.Bootstrap{}
	readEnvoy(t, bootstrap)
	if err := bootstrap.ValidateAll(); err != nil {
		t.Error(err)
	}
	manager, filter := &hcmv3.HttpConnectionManager{}, &ext_authzv3.ExtAuthz{}
	unpack(t, bootstrap.GetStaticResources().GetListeners()[0].GetFilterChains()[0].GetFilters()[0].GetTypedConfig(), manager)
	unpack(t, manager.GetHttpFilters()[0].GetTypedConfig(), filter)
	clusters := map[string]bool{}
	for _, cluster := range bootstrap.GetStaticResources().GetClusters() {
		clusters[cluster.GetName()] = true
	}
	t.Run("ext_authz denies requests if the verifier does not answer", func(t *testing.T) { testExtAuthz(t, filter, clusters) })
	t.Run("clients cannot forge addresses, paths and headers", func(t *testing.T) { testConnectionManager(t, manager) })
	routes := manager.GetRouteConfig().GetVirtualHosts()[0].GetRoutes()
	t.Run("path segments with semicolons are rejected before all routes", func(t *testing.T) { testRefusedPaths(t, routes[0]) })
	t.Run("routes pass their requirements", func(t *testing.T) {
		testRouteRequirements(t, manager.GetHttpFilters()[0].GetName(), routes[1:], clusters)
	})
}

func testExtAuthz(t *testing.T, filter *ext_authzv3.ExtAuthz, clusters map[string]bool) {
	if filter.GetFailureModeAllow() || filter.GetClearRouteCache() || filter.GetWithRequestBody() != nil || filter.GetIncludePeerCertificate() {
		t.Errorf("ext_authz is %v", filter)
	}
	service := filter.GetGrpcService()
	if verifier := service.GetEnvoyGrpc().GetClusterName(); !clusters[verifier] {
		t.Errorf("the verifier is cluster %q, which is not there", verifier)
	}
	if timeout := service.GetTimeout().AsDuration(); timeout != 500*time.Millisecond {
		t.Errorf("Envoy waits %s for it", timeout)
	}
	if status := filter.GetStatusOnError().GetCode(); status != typev3.StatusCode_ServiceUnavailable {
		t.Errorf("without it clients receive %s", status)
	}
}

func testConnectionManager(t *testing.T, manager *hcmv3.HttpConnectionManager) {
	if !manager.GetUseRemoteAddress().GetValue() {
		t.Error("a client chooses its address")
	}
	if !manager.GetNormalizePath().GetValue() || !manager.GetMergeSlashes() ||
		manager.GetPathWithEscapedSlashesAction() != hcmv3.HttpConnectionManager_REJECT_REQUEST {
		t.Error("a client chooses another path than the one that is seen")
	}
	if action := manager.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction(); action != corev3.HttpProtocolOptions_DROP_HEADER {
		t.Errorf("headers with underscores are met with %s", action)
	}
	early := &header_mutationv3.HeaderMutation{}
	unpack(t, manager.GetEarlyHeaderMutationExtensions()[0].GetTypedConfig(), early)
	removed := anchored(t, early.GetMutations()[0].GetRemoveOnMatch().GetKeyMatcher().GetSafeRegex())
	for name, want := range map[string]bool{"x.apikey.id": true, "x-apikey.id": true, "x.apikey-external.id": true, "x-api-key": false} {
		if removed.MatchString(name) != want {
			t.Errorf("that %s is removed is %t", name, !want)
		}
	}
}

// testRefusedPaths uses paths as they are after Envoy has normalized them.
func testRefusedPaths(t *testing.T, route *routev3.Route) {
	if status := route.GetDirectResponse().GetStatus(); status != http.StatusBadRequest {
		t.Errorf("they are answered %d", status)
	}
	refused := anchored(t, route.GetMatch().GetSafeRegex())
	for path, want := range map[string]bool{
		"/stock/..;/orders": true, "/stock/..;x=1/orders": true, "/.;/orders": true, "/;/orders": true, "/stock/%2E.%3B/orders": true,
		"/stock/7;v=1/8": false, "/stock/.../8": false, "/": false,
	} {
		if refused.MatchString(path) != want {
			t.Errorf("that %s is refused is %t", path, !want)
		}
	}
}

func testRouteRequirements(t *testing.T, filter string, routes []*routev3.Route, clusters map[string]bool) {
	needs := map[string]map[string]string{}
	for _, route := range routes {
		own := &ext_authzv3.ExtAuthzPerRoute{}
		if config := route.GetTypedPerFilterConfig()[filter]; config != nil {
			unpack(t, config, own)
		}
		if own.GetDisabled() || !clusters[route.GetRoute().GetCluster()] {
			t.Errorf("route %s is %v", route.GetMatch().GetPrefix(), route)
		}
		needs[route.GetMatch().GetPrefix()] = own.GetCheckSettings().GetContextExtensions()
	}
	want := map[string]map[string]string{"/orders": {"scopes": "orders:read", "preflight": "allow"}, "/acme": {"account": "acme"}, "/": nil}
	if diff := cmp.Diff(want, needs); diff != "" {
		t.Errorf("routes need something else (-want +got):\n%s", diff)
	}
}

// anchored returns an expression as Envoy matches it: in RE2 syntax, like Go, and against the whole text.
func anchored(t *testing.T, expression *matcherv3.RegexMatcher) *regexp.Regexp {
	t.Helper()
	if expression.GetRegex() == "" {
		t.Fatal("there is no expression")
	}
	return regexp.MustCompile("^(?:" + expression.GetRegex() + ")$")
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

// unpack decodes and validates the configuration of an extension.
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
