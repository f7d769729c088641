// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// envoyRequest returns a CheckRequest in the form that Envoy sends: the path includes the query, header names are in
// lower case, repeated headers are joined by commas, and the source is the direct peer.
func envoyRequest(path string, headers map[string]string, extensions map[string]string) *authv3.CheckRequest {
	all := map[string]string{":authority": "api.example.com", ":method": "GET", ":path": path, ":scheme": "https", "x-request-id": "6f1c0d8e"}
	maps.Copy(all, headers)
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:      peer("198.51.100.9", 51234),
		Destination: peer("10.0.0.1", 8443),
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "1", Method: "GET", Path: path, Host: "api.example.com", Scheme: "https", Size: -1, Protocol: "HTTP/2", Headers: all,
		}},
		ContextExtensions: extensions,
	}}
}

func peer(address string, port uint32) *authv3.AttributeContext_Peer {
	return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
		SocketAddress: &corev3.SocketAddress{Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}},
	}}}
}

// withPeer sets the peer of a request.
func withPeer(address string, r *authv3.CheckRequest) *authv3.CheckRequest {
	r.Attributes.Source = peer(address, 40000)
	return r
}

// withRawHeaders converts a request to the form that encode_raw_headers produces: headers one by one, as bytes, instead
// of a map.
func withRawHeaders(r *authv3.CheckRequest, more ...string) *authv3.CheckRequest {
	httpRequest := r.GetAttributes().GetRequest().GetHttp()
	httpRequest.HeaderMap = &corev3.HeaderMap{}
	for name, value := range httpRequest.GetHeaders() {
		httpRequest.HeaderMap.Headers = append(httpRequest.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
	}
	for i := 0; i < len(more); i += 2 {
		httpRequest.HeaderMap.Headers = append(httpRequest.HeaderMap.Headers, &corev3.HeaderValue{Key: more[i], RawValue: []byte(more[i+1])})
	}
	httpRequest.Headers = nil
	return r
}

// overwriteOption returns a header that replaces the value from the client.
func overwriteOption(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func allowed(ok *authv3.OkHttpResponse, dynamic map[string]any) *authv3.CheckResponse {
	fields, err := structpb.NewStruct(dynamic)
	if err != nil {
		panic(err)
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}, DynamicMetadata: fields,
	}
}

// goodAllowed returns the response for goodKey, after applying change.
func goodAllowed(change func(*authv3.OkHttpResponse)) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{
		Headers: []*corev3.HeaderValueOption{
			overwriteOption("x-apikey-id", "idgood"), overwriteOption("x-apikey-uid", "good"), overwriteOption("x-apikey-account", "acme"),
			overwriteOption("x-apikey-external-id", "ext-1"),
			overwriteOption("x-apikey-name", "shops/good"), overwriteOption("x-apikey-scopes", "orders:read,orders:write"),
			overwriteOption("x-apikey-plan", "pro"),
		},
	}
	change(ok)
	return allowed(ok, map[string]any{
		"keyID": "idgood", "name": "shops/good", "uid": "good", "account": "acme", "externalID": "ext-1", "plan": "pro",
		"scopes": []any{"orders:read", "orders:write"},
	})
}

func TestExtAuthz_Allows(t *testing.T) {
	t.Parallel()
	key := map[string]string{"x-api-key": goodKey}
	withoutHeader := func(names ...string) *authv3.CheckResponse {
		return goodAllowed(func(ok *authv3.OkHttpResponse) { ok.HeadersToRemove = names })
	}
	everywhere := setup{sources: []string{
		"header:X-API-Key", "header:Authorization:Bearer", "query:api_key", "query:key", "cookie:session",
		"basic",
	}}
	bare := map[string]any{"keyID": "idplain", "name": "shops/plain", "uid": "plain", "account": "bare", "scopes": []any{}}
	for name, tc := range map[string]struct {
		setup   setup
		request *authv3.CheckRequest
		want    *authv3.CheckResponse
	}{
		"a key in a header is taken out": {request: envoyRequest("/orders?page=2", key, nil), want: withoutHeader("x-api-key")},
		"a bearer token is taken out": {
			request: envoyRequest("/orders", map[string]string{"authorization": "bearer " + goodKey}, nil), want: withoutHeader("authorization"),
		},
		"raw headers are read": {request: withRawHeaders(envoyRequest("/orders", key, nil)), want: withoutHeader("x-api-key")},
		"keeps the Authorization of the application": {
			request: envoyRequest("/", map[string]string{"x-api-key": goodKey, "authorization": "Bearer ey.J.h"}, nil),
			want:    withoutHeader("x-api-key"),
		},
		"the key is in both": {
			request: envoyRequest("/", map[string]string{"x-api-key": goodKey, "authorization": "Bearer " + goodKey}, nil),
			want:    withoutHeader("authorization", "x-api-key"),
			setup:   setup{sources: []string{"header:Authorization:Bearer", "header:X-API-Key"}},
		},
		"a parameter is taken out": {
			setup: everywhere, request: envoyRequest("/orders?page=2&api_key="+goodKey, nil, nil),
			want: goodAllowed(func(ok *authv3.OkHttpResponse) { ok.QueryParametersToRemove = []string{"api_key"} }),
		},
		"a parameter of the application stays": {
			setup: everywhere, request: envoyRequest("/orders?key=7&api_key="+goodKey, nil, nil),
			want: goodAllowed(func(ok *authv3.OkHttpResponse) { ok.QueryParametersToRemove = []string{"api_key"} }),
		},
		"a cookie is cut out": {
			setup: everywhere, request: envoyRequest("/", map[string]string{"cookie": "a=1; session=" + goodKey + "; b=2"}, nil),
			want: goodAllowed(func(ok *authv3.OkHttpResponse) {
				ok.Headers = append([]*corev3.HeaderValueOption{overwriteOption("cookie", "a=1; b=2")}, ok.Headers...)
			}),
		},
		"a lonely cookie is removed": {
			setup: everywhere, request: envoyRequest("/", map[string]string{"cookie": `session="` + goodKey + `"`}, nil),
			want: withoutHeader("cookie"),
		},
		"cookies of two lines, which Envoy joins": {
			setup: everywhere, request: envoyRequest("/", map[string]string{"cookie": "a=1,session=" + goodKey + "; b=2,3"}, nil),
			want: goodAllowed(func(ok *authv3.OkHttpResponse) {
				ok.Headers = append([]*corev3.HeaderValueOption{overwriteOption("cookie", "a=1; b=2,3")}, ok.Headers...)
			}),
		},
		"bytes that are no text make no cookie": {
			setup: everywhere, request: withRawHeaders(envoyRequest("/", nil, nil), "cookie", "session="+goodKey+"; ses\xffsion=evil"),
			want: goodAllowed(func(ok *authv3.OkHttpResponse) {
				ok.Headers = append([]*corev3.HeaderValueOption{overwriteOption("cookie", "ses!sion=evil")}, ok.Headers...)
			}),
		},
		"raw cookies are joined": {
			setup: everywhere, request: withRawHeaders(envoyRequest("/", nil, nil), "cookie", "a=1", "cookie", "session="+goodKey, "cookie", "b=2"),
			want: goodAllowed(func(ok *authv3.OkHttpResponse) {
				ok.Headers = append([]*corev3.HeaderValueOption{overwriteOption("cookie", "a=1; b=2")}, ok.Headers...)
			}),
		},
		"other cookies stay": {
			setup: everywhere, request: envoyRequest("/", map[string]string{"x-api-key": goodKey, "cookie": "a=1; sessions=2"}, nil),
			want: withoutHeader("x-api-key"),
		},
		"what an identity lacks is removed": {
			request: envoyRequest("/", map[string]string{"x-api-key": plainKey, "x-apikey-external-id": "root", "x-apikey-scopes": "all"}, nil),
			want: allowed(&authv3.OkHttpResponse{
				Headers: []*corev3.HeaderValueOption{
					overwriteOption("x-apikey-id", "idplain"), overwriteOption("x-apikey-uid", "plain"), overwriteOption("x-apikey-account", "bare"),
					overwriteOption("x-apikey-name", "shops/plain"),
				},
				HeadersToRemove: []string{"x-apikey-external-id", "x-apikey-scopes", "x-apikey-plan", "x-api-key"},
			}, bare),
		},
		"an odd external ID is encoded": {
			request: envoyRequest("/", map[string]string{"x-api-key": oddKey}, nil),
			want: allowed(&authv3.OkHttpResponse{
				Headers: []*corev3.HeaderValueOption{
					overwriteOption("x-apikey-id", "idodd"), overwriteOption("x-apikey-uid", "odd"), overwriteOption("x-apikey-account", "odd"),
					overwriteOption("x-apikey-external-id", "%2050%25%0D%0AX-Apikey-Account: root%C3%A9"), overwriteOption("x-apikey-name", "shops/odd"),
				},
				HeadersToRemove: []string{"x-apikey-scopes", "x-apikey-plan", "x-api-key"},
			}, map[string]any{"keyID": "idodd", "name": "shops/odd", "uid": "odd", "account": "odd", "externalID": oddID, "scopes": []any{}}),
		},
		"the route's scopes and account are met": {
			request: envoyRequest("/orders", key, map[string]string{
				"scopes": "orders:read, orders:write", "account": "acme",
				"externalID": "ext-1",
			}), want: withoutHeader("x-api-key"),
		},
		"ignores requirements in the query": {
			request: envoyRequest("/orders?scopes=admin&account=bare", key, nil),
			want:    withoutHeader("x-api-key"),
		},
		"the peer is in the whitelist": {
			request: withPeer("192.0.2.7", envoyRequest("/", map[string]string{"x-api-key": listedKey}, nil)), want: listedAllowed(),
		},
		"an IPv6 peer is in the whitelist": {
			request: withPeer("2001:db8::1", envoyRequest("/", map[string]string{"x-api-key": listedKey}, nil)), want: listedAllowed(),
		},
		"the client behind a trusted peer is": {
			setup:   setup{trusted: []string{"198.51.100.0/24"}},
			request: envoyRequest("/", map[string]string{"x-api-key": listedKey, "x-forwarded-for": "203.0.113.1, 192.0.2.7, 198.51.100.3"}, nil),
			want:    listedAllowed(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := authv3.NewAuthorizationClient(dialExtAuthz(t, tc.setup.authorizer(t)))
			for _, try := range []string{"first", "second"} { // the second uses the memory of the first
				got, err := client.Check(t.Context(), tc.request)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.want, got, protocmp.Transform()); diff != "" {
					t.Errorf("%s answer (-want +got):\n%s", try, diff)
				}
			}
		})
	}
}

func listedAllowed() *authv3.CheckResponse {
	return allowed(&authv3.OkHttpResponse{
		Headers: []*corev3.HeaderValueOption{
			overwriteOption("x-apikey-id", "idlisted"), overwriteOption("x-apikey-uid", "listed"), overwriteOption("x-apikey-account", "acme"),
			overwriteOption("x-apikey-external-id", "ext-1"),
			overwriteOption("x-apikey-name", "shops/listed"), overwriteOption("x-apikey-plan", "pro"),
		},
		HeadersToRemove: []string{"x-apikey-scopes", "x-api-key"},
	}, map[string]any{
		"keyID": "idlisted", "name": "shops/listed", "uid": "listed", "account": "acme", "externalID": "ext-1", "plan": "pro",
		"scopes": []any{},
	})
}

func TestExtAuthz_Denies(t *testing.T) {
	t.Parallel()
	with := func(key string) *authv3.CheckRequest {
		return envoyRequest("/", map[string]string{"x-api-key": key}, nil)
	}
	route := func(name, value string) *authv3.CheckRequest {
		return envoyRequest("/", map[string]string{"x-api-key": goodKey}, map[string]string{name: value})
	}
	for name, tc := range map[string]struct {
		setup   setup
		request *authv3.CheckRequest
		code    string
		status  int
		rpc     codes.Code
	}{
		"an empty request": {request: &authv3.CheckRequest{}, code: "MISSING", status: 401, rpc: codes.Unauthenticated},
		"no key":           {request: envoyRequest("/", nil, nil), code: "MISSING", status: 401, rpc: codes.Unauthenticated},
		"two keys": {request: envoyRequest("/", map[string]string{
			"x-api-key":     goodKey,
			"authorization": "Bearer " + plainKey,
		}, nil), code: "AMBIGUOUS", status: 401, rpc: codes.Unauthenticated},
		"a joined header": {request: with(goodKey + "," + goodKey), code: "AMBIGUOUS", status: 401, rpc: codes.Unauthenticated},
		"a raw header twice": {
			request: withRawHeaders(with(goodKey), "X-API-Key", goodKey), code: "AMBIGUOUS", status: 401,
			rpc: codes.Unauthenticated,
		},
		"a header and a raw one": {request: withBothHeaders(with(goodKey)), code: "AMBIGUOUS", status: 401, rpc: codes.Unauthenticated},
		"an unknown key":         {request: with(unknownKey), code: "UNKNOWN", status: 401, rpc: codes.Unauthenticated},
		"a key in a query that is not a source": {
			request: envoyRequest("/?api_key="+goodKey, nil, nil), code: "MISSING", status: 401,
			rpc: codes.Unauthenticated,
		},
		"a revoked key":       {request: with(revokedKey), code: "REVOKED", status: 401, rpc: codes.Unauthenticated},
		"an inactive key":     {request: with(inactiveKey), code: "INACTIVE", status: 401, rpc: codes.Unauthenticated},
		"a suspended account": {request: with(suspendedKey), code: "ACCOUNT_SUSPENDED", status: 401, rpc: codes.Unauthenticated},
		"an expired key":      {request: with(expiredKey), code: "EXPIRED", status: 401, rpc: codes.Unauthenticated},
		"a strange peer":      {request: with(listedKey), code: "IP_NOT_ALLOWED", status: 403, rpc: codes.PermissionDenied},
		"a forged client": {request: envoyRequest("/", map[string]string{"x-api-key": listedKey, "x-forwarded-for": "192.0.2.7"},
			nil), code: "IP_NOT_ALLOWED", status: 403, rpc: codes.PermissionDenied},
		"a malformed hop": {
			setup:   setup{trusted: []string{"198.51.100.0/24"}},
			request: envoyRequest("/", map[string]string{"x-api-key": listedKey, "x-forwarded-for": "192.0.2.7, x"}, nil), code: "IP_NOT_ALLOWED",
			status: 403, rpc: codes.PermissionDenied,
		},
		"a peer that is a pipe": {
			request: withPeer("/run/envoy.sock", with(listedKey)), code: "IP_NOT_ALLOWED", status: 403,
			rpc: codes.PermissionDenied,
		},
		"a scope that it lacks": {
			request: route("scopes", "orders:read,admin"), code: "SCOPE_MISSING", status: 403,
			rpc: codes.PermissionDenied,
		},
		"another account":          {request: route("account", "bare"), code: "ACCOUNT_MISMATCH", status: 403, rpc: codes.PermissionDenied},
		"an external ID as a name": {request: route("account", "ext-1"), code: "ACCOUNT_MISMATCH", status: 403, rpc: codes.PermissionDenied},
		"a name as an external ID": {request: route("externalID", "acme"), code: "ACCOUNT_MISMATCH", status: 403, rpc: codes.PermissionDenied},
		"an empty account":         {request: route("account", ""), code: "ACCOUNT_MISMATCH", status: 403, rpc: codes.PermissionDenied},
		"an empty external ID":     {request: route("externalID", ""), code: "ACCOUNT_MISMATCH", status: 403, rpc: codes.PermissionDenied},
		"scopes without a scope":   {request: route("scopes", ","), code: "ACCOUNT_MISMATCH", status: 403, rpc: codes.PermissionDenied},
		"a header of another account": {setup: claim, request: envoyRequest("/", map[string]string{
			"x-api-key":    goodKey,
			"x-ff-company": "bare",
		}, nil), code: "ACCOUNT_MISMATCH", status: 403, rpc: codes.PermissionDenied},
		"a header of two accounts": {setup: claim, request: envoyRequest("/", map[string]string{
			"x-api-key":    goodKey,
			"x-ff-company": "ext-1,ext-1",
		}, nil), code: "ACCOUNT_MISMATCH", status: 403, rpc: codes.PermissionDenied},
		"an index that is not synced": {
			setup: setup{unsynced: true}, request: with(goodKey), code: "NOT_SYNCED", status: 503,
			rpc: codes.Unavailable,
		},
		"503 folded to 403": {
			setup:   setup{unsynced: true, options: server.AuthorizerOptions{DenyStatusOnly: true}},
			request: with(goodKey), code: "NOT_SYNCED", status: 403, rpc: codes.Unavailable,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := authv3.NewAuthorizationClient(dialExtAuthz(t, tc.setup.authorizer(t)))
			// The metadata of the call describes Envoy, not the client.
			ctx := metadata.AppendToOutgoingContext(t.Context(), "x-api-key", goodKey, "x-forwarded-for", "192.0.2.7")
			got, err := client.Check(ctx, tc.request)
			if err != nil {
				t.Fatal(err)
			}
			want := &authv3.CheckResponse{
				Status: &rpcstatus.Status{Code: int32(tc.rpc)},
				HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
					Status: &typev3.HttpStatus{Code: typev3.StatusCode(tc.status)},
					Headers: []*corev3.HeaderValueOption{
						overwriteOption("content-type", "application/problem+json"),
						overwriteOption("cache-control", "no-store"),
					},
				}},
			}
			denied := want.GetDeniedResponse()
			if tc.status == 401 {
				denied.Headers = append(denied.Headers, overwriteOption("www-authenticate", `ApiKey realm="tests"`))
			}
			body := got.GetDeniedResponse().GetBody()
			varying := cmp.Options{protocmp.IgnoreFields(denied, "body"), protocmp.IgnoreFields(want, "dynamic_metadata")}
			if diff := cmp.Diff(want, got, protocmp.Transform(), varying); diff != "" {
				t.Errorf("the answer (-want +got):\n%s", diff)
			}
			checkDenial(t, body, tc.code, tc.status)
			id, named := got.GetDynamicMetadata().AsMap()["keyID"].(string)
			if named != strings.Contains(body, `"keyID"`) || !strings.Contains(body, id) {
				t.Errorf("the dynamic metadata has the key ID %q, and the body is %s", id, body)
			}
		})
	}
}

// withBothHeaders puts the key into the map and the raw headers, which Envoy never does.
func withBothHeaders(r *authv3.CheckRequest) *authv3.CheckRequest {
	headers := r.GetAttributes().GetRequest().GetHttp().GetHeaders()
	withRawHeaders(r)
	r.GetAttributes().GetRequest().GetHttp().Headers = headers
	return r
}

func checkDenial(t *testing.T, body, code string, status int) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	if got["title"] == "" {
		t.Errorf("the problem has no title: %s", body)
	}
	delete(got, "title")
	want := map[string]any{"type": "about:blank", "status": float64(status), "code": code}
	if id, matched := keyIDByCode[code]; matched {
		want["keyID"] = id
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the problem (-want +got):\n%s", diff)
	}
}

func TestExtAuthz_AnswerChangesWithKey(t *testing.T) {
	t.Parallel()
	index := newIndex()
	index.SetComplete()
	s := setup{index: index}
	srv := s.authorizer(t).ExtAuthz()
	request := envoyRequest("/", map[string]string{"x-api-key": goodKey}, nil)
	account := func() string {
		response, err := srv.Check(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		return response.GetDynamicMetadata().GetFields()["externalID"].GetStringValue()
	}
	if got := account(); got != "ext-1" {
		t.Fatalf("the external ID is %q, want ext-1", got)
	}
	index.PutAccount(accountNamed("acme", "ext-9"))
	if got := account(); got != "ext-9" {
		t.Errorf("after the account changed the external ID is %q, want ext-9", got)
	}
}

func TestExtAuthz_AnswersAreNotMixedUp(t *testing.T) {
	t.Parallel()
	const many = 20_000
	index := newIndex()
	name := func(i int) string { return fmt.Sprintf("key-%d", i) }
	secret := func(i int) string { return fmt.Sprintf("sk_many_%024d", i) }
	for i := range many {
		index.PutKey(newKey(name(i), secret(i), v1alpha1.APIKeySpec{Account: "bare"}))
	}
	srv := setup{index: index}.authorizer(t).ExtAuthz()
	for range 2 {
		for i := range many {
			response, err := srv.Check(t.Context(), envoyRequest("/", map[string]string{"x-api-key": secret(i)}, nil))
			if err != nil {
				t.Fatal(err)
			}
			if got := response.GetDynamicMetadata().GetFields()["keyID"].GetStringValue(); got != "id"+name(i) {
				t.Fatalf("key %d has the identity %q", i, got)
			}
		}
	}
}

// Concurrent requests over one connection use the memory of each other.
func TestExtAuthz_ConcurrentAnswersAreNotMixedUp(t *testing.T) {
	t.Parallel()
	client := authv3.NewAuthorizationClient(dialExtAuthz(t, setup{}.authorizer(t)))
	var group errgroup.Group
	for _, key := range []string{goodKey, plainKey, oddKey, borrowedKey, inactiveKey, expiredKey, revokedKey, suspendedKey} {
		name := strings.Split(key, "_")[1]
		request := envoyRequest("/"+name, map[string]string{"x-api-key": key, "cookie": strings.Repeat(name, len(name))}, nil)
		group.Go(func() error {
			for range 500 {
				response, err := client.Check(t.Context(), request)
				if err != nil {
					return err
				}
				if got := response.GetDynamicMetadata().GetFields()["keyID"].GetStringValue(); got != "id"+name {
					return fmt.Errorf("the key %s has the identity %q", name, got)
				}
				if body := response.GetDeniedResponse().GetBody(); body != "" && !strings.Contains(body, `"id`+name+`"`) {
					return fmt.Errorf("the key %s has the response %s", name, body)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// A misspelt requirement must not be ignored.
func TestExtAuthz_RefusesUnknownExtensions(t *testing.T) {
	t.Parallel()
	ignoring := setup{options: server.AuthorizerOptions{IgnoreExtensions: []string{"tenant", "virtual_host"}}}
	for name, tc := range map[string]struct {
		setup
		extensions map[string]string
		allowed    bool
	}{
		"a misspelt one":                    {setup{}, map[string]string{"scope": "admin"}, false},
		"one beside a requirement":          {setup{}, map[string]string{"scopes": "orders:read", "acount": "acme"}, false},
		"another case":                      {setup{}, map[string]string{"Scopes": "orders:read"}, false},
		"one without a name":                {setup{}, map[string]string{"": ""}, false},
		"those of others":                   {ignoring, map[string]string{"tenant": "a", "virtual_host": "b", "scopes": "orders:read"}, true},
		"ignored ones and an unknown one":   {ignoring, map[string]string{"tenant": "a", "scope": "admin"}, false},
		"those of others, and a scope less": {ignoring, map[string]string{"tenant": "a", "scopes": "admin"}, false},
		"empty scopes":                      {setup{}, map[string]string{"scopes": ","}, false},
		"none":                              {setup{}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connection := dial(t, serve(t, tc.setup, server.Options{}).grpc)
			answer, err := authv3.NewAuthorizationClient(connection).Check(t.Context(),
				envoyRequest("/", map[string]string{"x-api-key": goodKey}, tc.extensions))
			if err != nil {
				t.Fatal(err)
			}
			if got := answer.GetOkResponse() != nil && answer.GetStatus().GetCode() == 0; got != tc.allowed {
				t.Fatalf("got %v", answer)
			}
			if denied := answer.GetDeniedResponse(); !tc.allowed && (denied.GetStatus().GetCode() != 403 || answer.GetStatus().GetCode() != 7) {
				t.Errorf("refused with %v", answer)
			}
		})
	}
}

// A check reads no header that is not decoded, however the verifier is configured: it would panic.
func TestExtAuthz_DecodesHeadersOfAllOptions(t *testing.T) {
	t.Parallel()
	for _, address := range []verifier.AddressHeader{verifier.XForwardedFor, verifier.XRealIP, verifier.Forwarded} {
		for _, account := range []string{"", "X-FF-Company", "X-FF-Company:externalID"} {
			for _, source := range []string{"header:X-Key", "header:Authorization:Bearer", "query:api_key", "cookie:session", "basic"} {
				s := setup{
					sources: []string{source}, trusted: []string{"198.51.100.0/24"},
					options: server.AuthorizerOptions{AddressHeader: address, AccountHeader: accountHeader(account)},
				}
				r := envoyRequest("/", map[string]string{"origin": "https://a", "authorization": "Basic eDp5"}, map[string]string{"preflight": "allow"})
				r.Attributes.Request.Http.Method = "OPTIONS"
				if got, err := s.authorizer(t).ExtAuthz().Check(t.Context(), r); err != nil || got.GetStatus().GetCode() == 0 {
					t.Errorf("%s with %s and %q: %v, %v", source, address.LowerName(), account, got, err)
				}
			}
		}
	}
}

// A client that can reach the server must not fill the log with the names of extensions.
func TestExtAuthz_LimitsLogOfExtensions(t *testing.T) {
	t.Parallel()
	var line string
	srv := setup{options: server.AuthorizerOptions{
		Logger: funcr.NewJSON(func(text string) { line = text }, funcr.Options{}),
	}}.authorizer(t).ExtAuthz()
	extensions := map[string]string{"acount": "acme"}
	for i := range 1000 {
		extensions[fmt.Sprintf("é%d", i)+strings.Repeat("é", 1000)] = ""
	}
	answer, err := srv.Check(t.Context(), envoyRequest("/", map[string]string{"x-api-key": goodKey}, extensions))
	if err != nil || answer.GetDeniedResponse() == nil {
		t.Fatalf("got %v and %v", answer, err)
	}
	if !strings.Contains(line, `"acount"`) || !strings.Contains(line, `"count":1001`) || !utf8.ValidString(line) {
		t.Errorf("the log line must name the first extension and count all of them: %s", line)
	}
	if len(line) > 2<<10 {
		t.Errorf("the log line has %d bytes", len(line))
	}
}
