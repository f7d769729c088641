// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// limited returns a setup in which a client may send two unknown keys an hour.
func limited(change ...func(*setup)) setup {
	s := setup{options: server.AuthorizerOptions{Failures: verifier.NewFailureLimiter(verifier.FailureRate{Count: 2, Unit: time.Hour})}}
	for _, apply := range change {
		apply(&s)
	}
	return s
}

// expectCodes sends requests over forward auth, and compares the codes of the responses.
func expectCodes(t *testing.T, s setup, send func(*endpoints) answer, want ...string) {
	t.Helper()
	at := serve(t, s, server.Options{})
	var got []string
	for range want {
		a := send(at)
		code := "VALID"
		if a.status != 200 {
			code = problemCode(t, a.body)
		}
		got = append(got, code)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the codes (-want +got):\n%s", diff)
	}
}

func problemCode(t *testing.T, body string) string {
	t.Helper()
	_, rest, _ := strings.Cut(body, `"code":"`)
	code, _, found := strings.Cut(rest, `"`)
	if !found {
		t.Fatalf("the body has no code: %s", body)
	}
	return code
}

// A failure is a request with a key that no APIKey has. Other rejections are none: a browser sends its first
// request without credentials, and a client that holds a known key does not guess.
func TestFailures_OnlyUnknownKeysCount(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		header []string
		want   string
	}{
		"no key":            {nil, "MISSING"},
		"a key twice":       {[]string{"X-Api-Key", unknownKey, "X-Api-Key", unknownKey}, "AMBIGUOUS"},
		"an inactive key":   {[]string{"X-Api-Key", inactiveKey}, "INACTIVE"},
		"an expired key":    {[]string{"X-Api-Key", expiredKey}, "EXPIRED"},
		"a revoked key":     {[]string{"X-Api-Key", revokedKey}, "REVOKED"},
		"a strange address": {[]string{"X-Api-Key", listedKey}, "IP_NOT_ALLOWED"},
		"a valid key":       {[]string{"X-Api-Key", goodKey}, "VALID"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectCodes(t, limited(), func(at *endpoints) answer {
				return send(t, at.http, "GET", "/authz", header(tc.header...), "")
			}, tc.want, tc.want, tc.want, tc.want, tc.want)
		})
	}
}

// At the limit, an unknown key gets another code. Every other request gets the same verdict as before, so that a
// client cannot lock out others that share its address.
func TestFailures_OnlyUnknownKeysAreLimited(t *testing.T) {
	t.Parallel()
	keys := []string{unknownKey, unknownKey, unknownKey, goodKey, inactiveKey, "", unknownKey, goodKey}
	next := 0
	expectCodes(t, limited(), func(at *endpoints) answer {
		h := header()
		if keys[next] != "" {
			h = header("X-Api-Key", keys[next])
		}
		next++
		return send(t, at.http, "GET", "/authz", h, "")
	}, "UNKNOWN", "UNKNOWN", "TOO_MANY_FAILURES", "VALID", "INACTIVE", "MISSING", "TOO_MANY_FAILURES", "VALID")
}

// Clients are told apart by the address that trusted proxies pass on. Those whose address cannot be determined would
// share a limit, and have none.
func TestFailures_ByClientAddress(t *testing.T) {
	t.Parallel()
	trusting := func(s *setup) { s.trusted = []string{"127.0.0.0/8"} }
	for name, tc := range map[string]struct {
		setup setup
		hops  []string
		want  []string
	}{
		"one client": {
			limited(trusting),
			[]string{"192.0.2.7", "192.0.2.7", "198.51.100.1, 192.0.2.7"},
			[]string{"UNKNOWN", "UNKNOWN", "TOO_MANY_FAILURES"},
		},
		"several clients": {limited(trusting), []string{"192.0.2.7", "192.0.2.8", "192.0.2.9"}, []string{"UNKNOWN", "UNKNOWN", "UNKNOWN"}},
		"IPv4 in IPv6": {
			limited(trusting),
			[]string{"192.0.2.7", "::ffff:192.0.2.7", "::ffff:192.0.2.8", "192.0.2.7"},
			[]string{"UNKNOWN", "UNKNOWN", "UNKNOWN", "TOO_MANY_FAILURES"},
		},
		"one IPv6 network": {
			limited(trusting),
			[]string{"2001:db8::1", "[2001:db8::2]:443", "2001:db8::3"},
			[]string{"UNKNOWN", "UNKNOWN", "TOO_MANY_FAILURES"},
		},
		"malformed addresses": {limited(trusting), []string{"x", "x", "x", "x"}, []string{"UNKNOWN", "UNKNOWN", "UNKNOWN", "UNKNOWN"}},
		"addresses of an untrusted peer": {
			limited(), []string{"192.0.2.7", "192.0.2.8", "192.0.2.9"}, []string{"UNKNOWN", "UNKNOWN", "TOO_MANY_FAILURES"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next := 0
			expectCodes(t, tc.setup, func(at *endpoints) answer {
				h := header("X-Api-Key", unknownKey, "X-Forwarded-For", tc.hops[next])
				next++
				return send(t, at.http, "GET", "/authz", h, "")
			}, tc.want...)
		})
	}
}

func TestFailures_ForwardAuth(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		setup  setup
		status int
	}{
		"429":                          {limited(), 429},
		"403 if 429 is not understood": {limited(func(s *setup) { s.options.DenyStatusOnly = true }), 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, h := serve(t, tc.setup, server.Options{}), header("X-Api-Key", unknownKey)
			var got answer
			for range 3 {
				got = send(t, at.http, "GET", "/authz", h, "")
			}
			if got.status != tc.status || got.header.Get("Retry-After") != "1800" || got.header.Get("WWW-Authenticate") != "" {
				t.Errorf("got %d %v", got.status, got.header)
			}
			checkProblem(t, got, "TOO_MANY_FAILURES")
		})
	}
}

func TestFailures_ExtAuthz(t *testing.T) {
	t.Parallel()
	client := authv3.NewAuthorizationClient(dialExtAuthz(t, limited().authorizer(t)))
	check := func(key, address string) *authv3.CheckResponse {
		got, err := client.Check(t.Context(), withPeer(address, envoyRequest("/", map[string]string{"x-api-key": key}, nil)))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	const address = "2001:db8::7"
	check(unknownKey, address)
	check(unknownKey, address)
	got := check(unknownKey, "2001:db8::8")
	want := &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.Unavailable)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode_TooManyRequests},
			Headers: []*corev3.HeaderValueOption{
				overwriteOption("content-type", "application/problem+json"), overwriteOption("cache-control", "no-store"),
				overwriteOption("retry-after", "1800"),
			},
		}},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(want.GetDeniedResponse(), "body")); diff != "" {
		t.Errorf("the answer (-want +got):\n%s", diff)
	}
	checkDenial(t, got.GetDeniedResponse().GetBody(), "TOO_MANY_FAILURES", 429)
	if got := check(goodKey, address); got.GetOkResponse() == nil {
		t.Errorf("a valid key is refused: %v", got)
	}
	if got := check(unknownKey, "/run/envoy.sock"); got.GetDeniedResponse().GetStatus().GetCode() != typev3.StatusCode_Unauthorized {
		t.Errorf("a client without an address is limited: %v", got)
	}
}

// Applications name the address of their client. Without it, the verifier sees the application only.
func TestFailures_Verify(t *testing.T) {
	t.Parallel()
	at := serve(t, limited(), server.Options{})
	for _, tc := range []struct{ path, body, want string }{
		{"/v1/verify", `{"key":"` + unknownKey + `","ip":"192.0.2.7"}`, `{"valid":false,"code":"UNKNOWN"}`},
		{"/v1/verify", `{"key":"` + unknownKey + `","ip":"192.0.2.7"}`, `{"valid":false,"code":"UNKNOWN"}`},
		{"/v1/verify", `{"key":"` + unknownKey + `","ip":"192.0.2.7"}`, `{"valid":false,"code":"TOO_MANY_FAILURES"}`},
		{"/v1/explain", `{"key":"` + unknownKey + `","ip":"192.0.2.7"}`, `{"valid":false,"code":"TOO_MANY_FAILURES","step":"key","passed":["synced"]}`},
		{"/v1/verify", `{"key":"` + unknownKey + `","ip":"192.0.2.8"}`, `{"valid":false,"code":"UNKNOWN"}`},
		{"/v1/verify", `{"key":"` + unknownKey + `"}`, `{"valid":false,"code":"UNKNOWN"}`},
		{"/v1/verify", `{"key":"` + unknownKey + `"}`, `{"valid":false,"code":"UNKNOWN"}`},
		{"/v1/verify", `{"key":"` + unknownKey + `"}`, `{"valid":false,"code":"UNKNOWN"}`},
	} {
		if got := send(t, at.http, "POST", tc.path, nil, tc.body); got.status != 200 || strings.TrimSpace(got.body) != tc.want {
			t.Errorf("%s %s: got %d %s, want %s", tc.path, tc.body, got.status, got.body, tc.want)
		}
	}
}

// A flood from one address writes a line whenever the number of refused requests has doubled.
func TestFailures_AuditLog(t *testing.T) {
	t.Parallel()
	var log logLines
	at := serve(t, limited(func(s *setup) { s.options.Audit = server.NewAudit(log.logger(), 0) }), server.Options{})
	for range 102 {
		send(t, at.http, "GET", "/authz", header("X-Api-Key", unknownKey), "")
	}
	var got []string
	for _, line := range log.all() {
		refusals := ""
		if _, rest, found := strings.Cut(line, `"refusals":`); found {
			refusals, _, _ = strings.Cut(rest, ",")
		}
		got = append(got, problemCode(t, line)+refusals)
	}
	want := []string{"UNKNOWN", "UNKNOWN"}
	for _, n := range []string{"1", "2", "4", "8", "16", "32", "64"} {
		want = append(want, "TOO_MANY_FAILURES"+n)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the audit (-want +got):\n%s", diff)
	}
}
