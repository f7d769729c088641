// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// This file tests services that ask the verifier from gRPC itself, without a proxy (gRFC A92, a draft). It builds requests
// and applies responses as the gRFC describes.

// a92Request returns the CheckRequest of a call with some metadata. The header map is the only place with headers, and
// its values are bytes. ID, scheme, host, query and context extensions are not set.
func a92Request(pairs ...string) *authv3.CheckRequest {
	headers := &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
		{Key: "content-type", RawValue: []byte("application/grpc")},
		{Key: "user-agent", RawValue: []byte("grpc-go/1.85.0")},
		{Key: "trace-bin", RawValue: []byte("AAECAwQ")}, // binary metadata is encoded in base64
	}}
	for i := 0; i < len(pairs); i += 2 {
		headers.Headers = append(headers.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: peer("192.0.2.7", 51234), Destination: peer("10.0.0.1", 8443),
		Request: &authv3.AttributeContext_Request{Time: timestamppb.New(now), Http: &authv3.AttributeContext_HttpRequest{
			Method: "POST", HeaderMap: headers, Path: "/shop.v1.Orders/Create", Size: -1, Protocol: "HTTP/2",
		}},
	}}
}

// a92Metadata returns the metadata that the service receives after the response was applied to that of the client: first
// the headers to set, and then those to remove. gRPC reads value, except for binary headers, and ignores an entry that is
// empty, too long, or not in lower case.
func a92Metadata(t *testing.T, request *authv3.CheckRequest, ok *authv3.OkHttpResponse) map[string][]string {
	t.Helper()
	received := map[string][]string{}
	for _, h := range request.GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
		received[h.GetKey()] = append(received[h.GetKey()], string(h.GetRawValue()))
	}
	for _, option := range ok.GetHeaders() {
		name, value := option.GetHeader().GetKey(), option.GetHeader().GetValue()
		checkA92Header(t, option.GetHeader())
		if option.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%s is appended to what the client sent", name)
		}
		received[name] = []string{value}
	}
	for _, name := range ok.GetHeadersToRemove() {
		delete(received, name)
	}
	return received
}

// checkA92Header fails the test if gRPC ignores a header.
func checkA92Header(t *testing.T, h *corev3.HeaderValue) {
	t.Helper()
	const maxLength = 16384
	name := h.GetKey()
	switch {
	case name != strings.ToLower(name), name == "host", strings.HasPrefix(name, ":"), strings.HasPrefix(name, "grpc-"), strings.HasSuffix(name, "-bin"):
		t.Errorf("gRPC ignores %s", name)
	case h.GetValue() == "" || len(h.GetValue()) > maxLength || len(h.GetRawValue()) > 0:
		t.Errorf("gRPC ignores the value %q of %s", h.GetValue(), name)
	}
}

// a92Status returns the status that the client receives: gRPC derives it from the HTTP status.
func a92Status(response *authv3.CheckResponse) codes.Code {
	if response.GetStatus().GetCode() == int32(codes.OK) {
		return codes.OK
	}
	switch int(response.GetDeniedResponse().GetStatus().GetCode()) {
	case 400:
		return codes.Internal
	case 401:
		return codes.Unauthenticated
	case 403:
		return codes.PermissionDenied
	case 404:
		return codes.Unimplemented
	case 429, 502, 503, 504:
		return codes.Unavailable
	}
	return codes.Unknown
}

func TestExtAuthz_A92Allows(t *testing.T) {
	t.Parallel()
	identity := map[string]string{
		"x-apikey-id": "idgood", "x-apikey-account": "acme", "x-apikey-external-id": "ext-1", "x-apikey-name": "shops/good",
		"x-apikey-scopes": "orders:read,orders:write", "x-apikey-uid": "good", "x-apikey-plan": "pro",
	}
	bare := map[string]string{"x-apikey-id": "idplain", "x-apikey-account": "bare", "x-apikey-name": "shops/plain", "x-apikey-uid": "plain"}
	for name, tc := range map[string]struct {
		sent []string
		want map[string]string
		// kept names the client's own metadata that the service receives.
		kept []string
	}{
		"a key in x-api-key":          {[]string{"x-api-key", goodKey}, identity, nil},
		"a key in authorization":      {[]string{"authorization", "Bearer " + goodKey}, identity, nil},
		"the same key in both":        {[]string{"x-api-key", goodKey, "authorization", "Bearer " + goodKey}, identity, nil},
		"a token of the application":  {[]string{"x-api-key", goodKey, "authorization", "Bearer ey.J.h"}, identity, []string{"authorization"}},
		"binary metadata":             {[]string{"x-api-key", goodKey, "state-bin", "\xff\x00\xfe"}, identity, []string{"state-bin"}},
		"binary metadata sent twice":  {[]string{"x-api-key", goodKey, "state-bin", "AA", "state-bin", "AQ"}, identity, []string{"state-bin"}},
		"a binary header with a name": {[]string{"x-api-key", goodKey, "x-api-key-bin", "AA"}, identity, []string{"x-api-key-bin"}},
		"forged identity": {
			[]string{"x-api-key", plainKey, "x-apikey-id", "root", "x-apikey-external-id", "root", "x-apikey-scopes", "a", "x-apikey-scopes", "b"}, bare, nil,
		},
		"a key of an address": {[]string{"x-api-key", listedKey}, map[string]string{
			"x-apikey-id": "idlisted", "x-apikey-account": "acme", "x-apikey-external-id": "ext-1", "x-apikey-name": "shops/listed",
			"x-apikey-uid": "listed", "x-apikey-plan": "pro",
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := a92Request(tc.sent...)
			response, err := authv3.NewAuthorizationClient(dialExtAuthz(t, setup{}.authorizer(t))).Check(t.Context(), request)
			if err != nil || a92Status(response) != codes.OK {
				t.Fatalf("got %v, %v", response, err)
			}
			got := a92Metadata(t, request, response.GetOkResponse())
			for _, name := range append([]string{"content-type", "user-agent", "trace-bin"}, tc.kept...) {
				if len(got[name]) == 0 {
					t.Errorf("%s is lost", name)
				}
				delete(got, name)
			}
			want := map[string][]string{}
			for name, value := range tc.want {
				want[name] = []string{value}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the service receives (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExtAuthz_A92Denies(t *testing.T) {
	t.Parallel()
	company := setup{options: server.AuthorizerOptions{AccountHeader: accountHeader("x-ff-company:externalID")}}
	for name, tc := range map[string]struct {
		setup setup
		sent  []string
		code  string
		want  codes.Code
	}{
		"no key":                   {setup{}, nil, "MISSING", codes.Unauthenticated},
		"a key as binary metadata": {setup{}, []string{"x-api-key-bin", goodKey}, "MISSING", codes.Unauthenticated},
		"an unknown key":           {setup{}, []string{"x-api-key", unknownKey}, "UNKNOWN", codes.Unauthenticated},
		"a key that is no text":    {setup{}, []string{"x-api-key", "\xff\xfe"}, "UNKNOWN", codes.Unauthenticated},
		"two keys":                 {setup{}, []string{"x-api-key", goodKey, "authorization", "Bearer " + plainKey}, "AMBIGUOUS", codes.Unauthenticated},
		"a key twice":              {setup{}, []string{"x-api-key", goodKey, "x-api-key", goodKey}, "AMBIGUOUS", codes.Unauthenticated},
		"an inactive key":          {setup{}, []string{"x-api-key", inactiveKey}, "INACTIVE", codes.Unauthenticated},
		"an account that is not named": {
			company, []string{"x-api-key", goodKey}, "ACCOUNT_MISMATCH", codes.PermissionDenied,
		},
		"an account that is named twice": {
			company, []string{"x-api-key", goodKey, "x-ff-company", "ext-1", "x-ff-company", "ext-1"}, "ACCOUNT_MISMATCH", codes.PermissionDenied,
		},
		"keys that are not synced": {setup{unsynced: true}, []string{"x-api-key", goodKey}, "NOT_SYNCED", codes.Unavailable},
		"too many failures": {
			setup{options: server.AuthorizerOptions{Failures: spentLimiter("192.0.2.7")}},
			[]string{"x-api-key", unknownKey},
			"TOO_MANY_FAILURES",
			codes.Unavailable,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := authv3.NewAuthorizationClient(dialExtAuthz(t, tc.setup.authorizer(t)))
			response, err := client.Check(t.Context(), a92Request(tc.sent...))
			if err != nil {
				t.Fatal(err)
			}
			if got := a92Status(response); got != tc.want || response.GetStatus().GetCode() != int32(tc.want) {
				t.Errorf("the client receives %s, and the response has %d, want %s", got, response.GetStatus().GetCode(), tc.want)
			}
			if got := problemCode(t, response.GetDeniedResponse().GetBody()); got != tc.code {
				t.Errorf("the code is %s, want %s", got, tc.code)
			}
			for _, option := range response.GetDeniedResponse().GetHeaders() {
				checkA92Header(t, option.GetHeader())
			}
		})
	}
}

// spentLimiter returns a limiter with a client that has reached its limit.
func spentLimiter(address string) *verifier.FailureLimiter {
	limiter := verifier.NewFailureLimiter(verifier.FailureRate{Count: 1, Unit: time.Hour})
	limiter.Fail(verifier.ParseClient(address), now)
	return limiter
}
