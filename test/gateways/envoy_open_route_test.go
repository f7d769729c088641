// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestEnvoy_OpenRouteIsOnePath checks that one path needs no key, and no other spelling of it or path below it.
func TestEnvoy_OpenRouteIsOnePath(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f := w.serveEnvoy(t, nil)
	for _, path := range []string{"/healthz", "/healthz?full=1", "/stock/../healthz"} {
		forged := http.Header{"X-Apikey-Id": {"forged"}, "x.apikey.account": {"forged"}, "x_apikey_name": {"forged"}, "X-Apikey-Plan": {"forged"}}
		if s := f.expectAllowed(t, clientRequest{path: path, header: forged}, map[string]string{}); !strings.HasPrefix(s.uri, "/healthz") {
			t.Errorf("the application sees %s", s.uri)
		}
	}
	for _, path := range []string{"/healthz/", "/healthz/orders", "/Healthz", "/healthz%20", "/healthz%3F", "/healthz/../orders", "/healthzz"} {
		f.expectDenied(t, clientRequest{path: path}, http.StatusUnauthorized, "MISSING")
	}
	for _, path := range []string{"/healthz;/orders", "/healthz/..;/orders", "/healthz%2forders", "/healthz/..%2forders", "/healthz%00"} {
		if a := f.sendRaw(t, path, ""); a.status < 400 || a.status >= 500 || len(a.received) != 0 {
			t.Errorf("%s was answered %d and reached the application as %v", path, a.status, a.received)
		}
	}
}

// TestEnvoy_OpenRouteNeedsNoVerifier checks that a route without a key is served while there is no verifier.
func TestEnvoy_OpenRouteNeedsNoVerifier(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f := w.serve(t, gatewayNamed("envoy"), freeAddress(t))
	f.expectAllowed(t, clientRequest{path: "/healthz"}, map[string]string{})
	f.expectUnavailable(t, w.requestWithKey("full"))
}
