// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/go-logr/logr/funcr"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// permissive configures every kind of key source and trusts proxies, which is the largest attack surface.
var permissive = setup{
	sources: []string{"header:X-API-Key", "header:Authorization:Bearer", "query:api_key", "cookie:session", "basic"},
	trusted: []string{"127.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24"},
	options: server.AuthorizerOptions{
		AccountHeader: accountHeader("X-FF-Company:externalID"),
		Audit:         server.NewAudit(funcr.NewJSON(func(string) {}, funcr.Options{}), 1),
	},
}

// TestProtocols_WithstandHostileRequests sends requests without a valid key over each protocol. None may be allowed,
// reveal a key, or leave goroutines or memory behind. The test does not run in parallel, so that it measures only its
// own memory.
func TestProtocols_WithstandHostileRequests(t *testing.T) { //nolint:paralleltest // see above
	rounds := 100_000
	switch {
	case testing.Short():
		rounds = 2_000
	case raceEnabled:
		rounds = 10_000
	}
	authorizer := permissive.authorizer(t)
	envoy, authz, verify, explain := authorizer.ExtAuthz(), authorizer.Authz(), authorizer.Verify(), authorizer.Explain()
	for name, ask := range map[string]func(*hostile) string{
		"ext_authz":    func(h *hostile) string { return checkEnvoyAnswer(t, envoy, h.checkRequest()) },
		"forward_auth": func(h *hostile) string { return checkHTTPAnswer(authz, h.authzRequest()) },
		"verify":       func(h *hostile) string { return checkHTTPAnswer(verify, h.verifyRequest("/v1/verify")) },
		"explain":      func(h *hostile) string { return checkHTTPAnswer(explain, h.verifyRequest("/v1/explain")) },
	} {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // see above
			run := func(seed uint64, n int) {
				h := &hostile{rand.New(rand.NewPCG(seed, 1))}
				for i := range n {
					if answer := ask(h); answer != "" {
						t.Fatalf("request %d of seed %d: %s", i, seed, answer)
					}
				}
			}
			run(1, rounds/10) // warm up, so that caches are filled
			goroutines, heap := runtime.NumGoroutine(), heapInUse()
			run(2, rounds)
			if after := runtime.NumGoroutine(); after > goroutines {
				t.Errorf("%d goroutines became %d", goroutines, after)
			}
			const slack = 8 << 20
			if after := heapInUse(); after > heap+slack {
				t.Errorf("%d requests leaked %d bytes", rounds, after-heap)
			}
		})
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// checkEnvoyAnswer describes what is wrong with the response to a request, or returns "".
func checkEnvoyAnswer(t testing.TB, srv authv3.AuthorizationServer, r *authv3.CheckRequest) string {
	response, err := srv.Check(t.Context(), r)
	if err != nil {
		return err.Error()
	}
	if response.GetStatus().GetCode() == int32(codes.OK) {
		return fmt.Sprintf("%v was allowed", r)
	}
	wire, err := proto.Marshal(response)
	if err != nil {
		return err.Error()
	}
	return describeLeak(wire)
}

// checkHTTPAnswer describes what is wrong with the HTTP response to a request, or returns "".
func checkHTTPAnswer(handler http.Handler, r *http.Request) string {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	body := w.Body.Bytes()
	allowed := w.Code == http.StatusOK && strings.HasPrefix(r.URL.Path, "/authz") || bytes.Contains(body, []byte(`"valid":true`))
	if allowed {
		return fmt.Sprintf("%s %s %v was allowed: %s", r.Method, r.URL, r.Header, body)
	}
	if w.Code >= http.StatusInternalServerError {
		return fmt.Sprintf("%s %s %v got %d", r.Method, r.URL, r.Header, w.Code)
	}
	return describeLeak(append(fmt.Append(nil, w.Header()), body...))
}

func describeLeak(answer []byte) string {
	for _, key := range append([]string{unknownKey}, knownKeys...) {
		if bytes.Contains(answer, []byte(key)) {
			return "the response contains the key: " + string(answer)
		}
	}
	return ""
}

// hostile generates requests that must not be allowed.
type hostile struct{ *rand.Rand }

func (h *hostile) pick(of ...string) string { return of[h.IntN(len(of))] }

// key returns an invalid key: an inactive one, or a modified valid one.
func (h *hostile) key() string {
	good := h.pick(goodKey, plainKey, oddKey)
	at := 3 + h.IntN(len(good)-6)
	return h.pick(
		unknownKey, inactiveKey, expiredKey, revokedKey, suspendedKey, strings.ToUpper(good), good[:at]+"!"+good[at+1:],
		good[:at]+"\x00"+good[at:],
		good[at:]+good[:at], good+good, good+"\n"+good, good+","+good, good+", "+unknownKey, "Bearer "+"Bearer "+good, good+"\u200b", good+".",
		"'"+good+"' or 1=1",
		"%00"+good, url.QueryEscape("\r\n"+good), good[:8], "*", "%", "null", "[redacted]",
	)
}

// text returns an arbitrary string.
func (h *hostile) text() string {
	switch h.IntN(6) {
	case 0:
		return ""
	case 1:
		return strings.Repeat(h.pick("a", ",", ";", "&", "=", "%", " ", "\"", "\xff", "/..", "api_key=&", "session=;", "é", "\x00", "[", ":"),
			h.IntN(300))
	case 2:
		b := make([]byte, h.IntN(64))
		for i := range b {
			b[i] = byte(h.IntN(256))
		}
		return string(b)
	}
	return h.pick("acme", "ext-1", "*", "orders:read", "admin", "192.0.2.7", "::1", "[::1]:80", "192.0.2.7:x", "fe80::1%eth0",
		"/orders?page=2", "https://x/?y#z", "Basic", "a=b") + h.pick("", ",", " ", "\t", "%zz")
}

// value returns a value of a header, a parameter or a cookie.
func (h *hostile) value() string {
	key := h.key()
	switch h.IntN(8) {
	case 0:
		return h.pick("Bearer", "bearer", "BEARER ", "Basic", "Basic ", "Digest") + " " + key
	case 1:
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(h.pick("", "user:", ":")+key))
	case 2:
		return "session=" + key + h.pick("", ";", "; session="+h.key(), "; a=b")
	case 3:
		return "/orders?" + h.pick("api_key=", "a&api_key=", "api_key=x&api_key=", "API_KEY=") + h.pick(key, url.QueryEscape(key))
	case 4:
		return h.text()
	}
	return key
}

var hostileNames = []string{
	"X-Api-Key", "Authorization", "Cookie", "X-Forwarded-For", "X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url", "X-Forwarded-Method",
	"X-Forwarded-Host", "X-Ff-Company", "X-Apikey-Id", "X-Apikey-Account", "X-Apikey-Scopes", "X-Real-Ip", "Forwarded",
	"X-Envoy-External-Address",
}

func (h *hostile) header() http.Header {
	header := http.Header{}
	for range h.IntN(6) {
		name := h.pick(hostileNames...)
		header[name] = append(header[name], h.value())
	}
	return header
}

func (h *hostile) authzRequest() *http.Request {
	r := &http.Request{
		Method: h.pick("GET", "HEAD", "POST", "PUT", h.text()), Header: h.header(), Body: http.NoBody,
		RemoteAddr: h.pick("192.0.2.7:1", "[::1]:2", "@", ""),
		URL: &url.URL{
			Path:     h.pick("/authz", "/authz/", "/authz/"+h.text()),
			RawQuery: h.pick("", "scopes="+h.text(), "account="+h.text(), "api_key="+h.key(), h.value()),
		},
	}
	return r
}

func (h *hostile) verifyRequest(path string) *http.Request {
	field := h.pick("key", "Key", "ip", "scopes", "account", "externalID", "x", goodKey)
	body := h.pick(
		fmt.Sprintf(`{"key":%q}`, h.value()), fmt.Sprintf(`{"key":%q,"ip":%q,"scopes":[%q],"account":%q,"externalID":%q}`, h.key(), h.text(),
			h.text(), h.text(), h.text()),
		fmt.Sprintf(`{%q:%q}`, field, h.key()), `{"key":`+strings.Repeat("[", h.IntN(2000)), h.value(), fmt.Sprintf(`[%q]`, goodKey),
		fmt.Sprintf(`{"key":{"key":%q}}`, goodKey),
		fmt.Sprintf(`{"key":"x","key":%q}`, goodKey), fmt.Sprintf(`{"key":%q,"scopes":%q}`, goodKey, h.text()),
		fmt.Sprintf(`{"key":%q} x`, goodKey),
	)
	return &http.Request{
		Method: h.pick("POST", "POST", "POST", "GET"), Header: h.header(), Body: io.NopCloser(strings.NewReader(body)),
		RemoteAddr: "192.0.2.7:1", URL: &url.URL{Path: path},
	}
}

// checkRequest returns a request for ext_authz. Its strings are UTF-8: TestCheckRequest_Oddities sends others.
func (h *hostile) checkRequest() *authv3.CheckRequest {
	utf8 := func(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
	httpRequest := &authv3.AttributeContext_HttpRequest{
		Method: utf8(h.text()), Host: utf8(h.text()), Path: utf8(h.value()), Headers: map[string]string{},
	}
	for name, values := range h.header() {
		if h.IntN(3) > 0 {
			httpRequest.Headers[strings.ToLower(name)] = utf8(strings.Join(values, ","))
			continue
		}
		httpRequest.HeaderMap = &corev3.HeaderMap{Headers: append(httpRequest.GetHeaderMap().GetHeaders(), nil)}
		for _, value := range values {
			httpRequest.HeaderMap.Headers = append(httpRequest.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
		}
	}
	r := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: peer(utf8(h.text()), 1), Request: &authv3.AttributeContext_Request{Http: httpRequest},
		ContextExtensions: map[string]string{"scopes": utf8(h.text()), "account": utf8(h.text()), "externalID": utf8(h.text())},
	}}
	switch h.IntN(20) {
	case 0:
		r.Attributes.Request = nil
	case 1:
		r.Attributes.Source.Address = nil
	case 2:
		return nil
	}
	return r
}
