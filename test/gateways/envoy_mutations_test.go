// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
)

// TestEnvoy_LimitsWhatVerifierChanges uses a verifier that allows all requests and changes a header, as one could that was taken
// over. The request path names the header.
func TestEnvoy_LimitsWhatVerifierChanges(t *testing.T) {
	t.Parallel()
	values := map[string]string{"x-apikey-name": "a\r\nX-Other: b"}
	f := (&suite{}).serve(t, gatewayNamed("envoy"), startFakeVerifier(t, func(r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		action, name, _ := strings.Cut(strings.TrimPrefix(r.GetAttributes().GetRequest().GetHttp().GetPath(), "/"), "/")
		ok := &authv3.OkHttpResponse{}
		switch action {
		case "set":
			value := values[name]
			if value == "" {
				value = "changed"
			}
			ok.Headers = []*corev3.HeaderValueOption{{
				Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			}}
		case "remove":
			ok.HeadersToRemove = []string{name}
		}
		return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}}, nil
	}))
	for _, name := range []string{"host", ":authority", ":path", ":method", "x-forwarded-for", "x-envoy-original-path", "x-role", "x-apikey-name"} {
		if a := f.send(t, clientRequest{path: "/set/" + name}); a.status != http.StatusInternalServerError || len(a.received) != 0 {
			t.Errorf("a change of %s was answered %d and reached the application %v", name, a.status, a.received)
		}
	}
	for _, name := range []string{"x-forwarded-for", "x-role"} {
		a := f.send(t, clientRequest{path: "/remove/" + name, header: http.Header{"X-Role": {"own"}}})
		if a.status != http.StatusInternalServerError || len(a.received) != 0 {
			t.Errorf("the removal of %s was answered %d and reached the application %v", name, a.status, a.received)
		}
	}
	for _, name := range []string{"x-apikey-id", "x-apikey-team2", "authorization", "x-api-key", "cookie"} {
		a := f.send(t, clientRequest{path: "/set/" + name})
		if a.status != http.StatusOK || len(a.received) != 1 || a.received[0].header.Get(name) != "changed" {
			t.Errorf("a change of %s was answered %d and reached the application as %v", name, a.status, a.received)
		}
	}
}

// TestEnvoy_SendsHeadersOneByOne records what the verifier receives.
func TestEnvoy_SendsHeadersOneByOne(t *testing.T) {
	t.Parallel()
	var received atomic.Pointer[authv3.AttributeContext_HttpRequest]
	f := (&suite{}).serve(t, gatewayNamed("envoy"), startFakeVerifier(t, func(r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		received.Store(r.GetAttributes().GetRequest().GetHttp())
		return &authv3.CheckResponse{}, nil
	}))
	a := f.sendText(t, "GET /stock HTTP/1.1\r\nHost: HOST\r\nX-API-Key: a\r\nX-API-Key: b,c\r\nAuthorization: \xff\xfe\r\n"+
		"Cookie: session=secret\r\nX-Other: d\r\nUser-Agent: e\r\nConnection: close\r\n\r\n")
	got, request := map[string][]string{}, received.Load()
	for _, h := range request.GetHeaderMap().GetHeaders() {
		if h.GetKey() != "x-forwarded-for" {
			got[h.GetKey()] = append(got[h.GetKey()], h.GetValue()+string(h.GetRawValue()))
		}
	}
	if diff := cmp.Diff(map[string][]string{"x-api-key": {"a", "b,c"}, "authorization": {"\xff\xfe"}}, got); diff != "" || len(request.GetHeaders()) != 0 {
		t.Errorf("the verifier receives other headers, and %v, and the client %d (-want +got):\n%s", request.GetHeaders(), a.status, diff)
	}
}
