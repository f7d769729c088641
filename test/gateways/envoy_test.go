// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3" // types that the bootstrap names
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	ext_authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	header_mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// TestEnvoy_SampleIsValidBootstrap parses the sample with Envoy's own types, and checks the settings that matter for security. It
// does not need Envoy.
func TestEnvoy_SampleIsValidBootstrap(t *testing.T) {
	t.Parallel()
	bootstrap := &bootstrapv3.Bootstrap{}
	readEnvoy(t, bootstrap)
	if err := bootstrap.ValidateAll(); err != nil {
		t.Error(err)
	}
	manager, filter := &hcmv3.HttpConnectionManager{}, &ext_authzv3.ExtAuthz{}
	unpack(t, bootstrap.GetStaticResources().GetListeners()[0].GetFilterChains()[0].GetFilters()[0].GetTypedConfig(), manager)
	unpack(t, manager.GetHttpFilters()[1].GetTypedConfig(), filter)
	clusters := map[string]*clusterv3.Cluster{}
	for _, cluster := range bootstrap.GetStaticResources().GetClusters() {
		clusters[cluster.GetName()] = cluster
	}
	t.Run("ext_authz denies requests if the verifier does not answer", func(t *testing.T) { testExtAuthz(t, filter, clusters) })
	t.Run("the verifier receives and changes only the headers that it needs", func(t *testing.T) { testHeaderRules(t, filter) })
	t.Run("Envoy asks another replica of the verifier", func(t *testing.T) {
		service := filter.GetGrpcService()
		testReplicas(t, clusters[service.GetEnvoyGrpc().GetClusterName()], service)
	})
	t.Run("clients cannot forge addresses, paths and headers", func(t *testing.T) { testConnectionManager(t, manager) })
	routes := manager.GetRouteConfig().GetVirtualHosts()[0].GetRoutes()
	t.Run("path segments with semicolons are rejected before all routes", func(t *testing.T) { testRefusedPaths(t, routes[0]) })
	t.Run("only one path needs no key", func(t *testing.T) { testOpenRoute(t, manager.GetHttpFilters()[1].GetName(), routes[1]) })
	t.Run("routes pass their requirements", func(t *testing.T) {
		testRouteRequirements(t, manager.GetHttpFilters()[1].GetName(), routes[2:], clusters)
	})
}

// TestEnvoy_AcceptsSample lets Envoy validate the sample.
func TestEnvoy_AcceptsSample(t *testing.T) {
	t.Parallel()
	root, err := controlplane.Root()
	if err != nil {
		t.Fatal(err)
	}
	program, sample := gatewayNamed("envoy").binary(t, root), filepath.Join(root, "config", "samples", "gateways", "envoy", "envoy.yaml")
	out, err := exec.CommandContext(t.Context(), program, "--mode", "validate", "--log-level", "warning", "-c", sample).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("deprecated")) {
		t.Errorf("envoy --mode validate: %v\n%s", err, out)
	}
}

func testExtAuthz(t *testing.T, filter *ext_authzv3.ExtAuthz, clusters map[string]*clusterv3.Cluster) {
	if filter.GetFailureModeAllow() || filter.GetClearRouteCache() || filter.GetWithRequestBody() != nil || filter.GetIncludePeerCertificate() {
		t.Errorf("ext_authz is %v", filter)
	}
	service := filter.GetGrpcService()
	if verifier := service.GetEnvoyGrpc().GetClusterName(); clusters[verifier] == nil {
		t.Errorf("the verifier is cluster %q, which is not there", verifier)
	}
	if timeout := service.GetTimeout().AsDuration(); timeout != 500*time.Millisecond {
		t.Errorf("Envoy waits %s for it", timeout)
	}
	if status := filter.GetStatusOnError().GetCode(); status != typev3.StatusCode_ServiceUnavailable {
		t.Errorf("without it clients receive %s", status)
	}
}

func testHeaderRules(t *testing.T, filter *ext_authzv3.ExtAuthz) {
	var sent []string
	for _, pattern := range filter.GetAllowedHeaders().GetPatterns() {
		sent = append(sent, pattern.GetExact())
	}
	slices.Sort(sent)
	want := []string{"access-control-request-method", "authorization", "origin", "x-api-key", "x-forwarded-for"}
	if diff := cmp.Diff(want, sent); diff != "" || !filter.GetEncodeRawHeaders() {
		t.Errorf("the verifier receives other headers, raw %t (-want +got):\n%s", filter.GetEncodeRawHeaders(), diff)
	}
	rules := filter.GetDecoderHeaderMutationRules()
	if !filter.GetValidateMutations() || !rules.GetDisallowAll().GetValue() || !rules.GetDisallowIsError().GetValue() {
		t.Errorf("the verifier may change other headers: %v", rules)
	}
	changed := anchored(t, rules.GetAllowExpression())
	for name, want := range map[string]bool{
		"x-apikey-external-id": true, "x-api-key": true, "authorization": true, "cookie": true, "host": false, "x-forwarded-for": false,
		":path": false, "x-envoy-original-path": false, "x-apikey": false,
	} {
		if changed.MatchString(name) != want {
			t.Errorf("that the verifier may change %s is %t", name, !want)
		}
	}
}

func testReplicas(t *testing.T, cluster *clusterv3.Cluster, service *corev3.GrpcService) {
	names := &dnsv3.DnsCluster{}
	unpack(t, cluster.GetClusterType().GetTypedConfig(), names)
	if err := cluster.ValidateAll(); err != nil || names.GetAllAddressesInSingleEndpoint() {
		t.Errorf("its replicas are found by %v: %v", names, err)
	}
	connect, call := cluster.GetConnectTimeout().AsDuration(), service.GetRetryPolicy().GetRetryBackOff().GetMaxInterval().AsDuration()
	if all := service.GetTimeout().AsDuration(); 2*connect >= all || 2*call >= all || call == 0 {
		t.Errorf("a retry has no time: Envoy waits %s for a connection and %s for a call", connect, call)
	}
	if retry := service.GetRetryPolicy(); retry.GetNumRetries().GetValue() != 1 || retry.GetRetryOn() != "connect-failure,reset,unavailable" {
		t.Errorf("Envoy retries %v", retry)
	}
	limits := cluster.GetCircuitBreakers().GetThresholds()[0]
	if limits.GetMaxRequests().GetValue() <= 1024 || limits.GetMaxPendingRequests().GetValue() <= 1024 || limits.GetMaxRetries().GetValue() <= 3 {
		t.Errorf("Envoy allows not more than by default: %v", limits)
	}
	if len(cluster.GetHealthChecks()) != 1 || cluster.GetHealthChecks()[0].GetGrpcHealthCheck() == nil || cluster.GetOutlierDetection() == nil {
		t.Error("Envoy does not notice that a replica is not available")
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

func testOpenRoute(t *testing.T, filter string, route *routev3.Route) {
	own := &ext_authzv3.ExtAuthzPerRoute{}
	unpack(t, route.GetTypedPerFilterConfig()[filter], own)
	if !own.GetDisabled() || route.GetMatch().GetPath() != "/healthz" {
		t.Errorf("it is %v", route)
	}
}

func testRouteRequirements(t *testing.T, filter string, routes []*routev3.Route, clusters map[string]*clusterv3.Cluster) {
	needs := map[string]map[string]string{}
	for _, route := range routes {
		own := &ext_authzv3.ExtAuthzPerRoute{}
		if config := route.GetTypedPerFilterConfig()[filter]; config != nil {
			unpack(t, config, own)
		}
		if own.GetDisabled() || clusters[route.GetRoute().GetCluster()] == nil {
			t.Errorf("route %s is %v", route.GetMatch().GetPrefix(), route)
		}
		needs[route.GetMatch().GetPrefix()] = own.GetCheckSettings().GetContextExtensions()
	}
	want := map[string]map[string]string{"/orders": {"scopes": "orders:read", "preflight": "allow"}, "/acme": {"account": "acme"}, "/shop": nil, "/": nil}
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
