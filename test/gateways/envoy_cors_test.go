// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"net/http"
	"testing"
)

// TestEnvoy_AnswersPreflights sends the requests of a browser to the route whose preflights Envoy answers.
func TestEnvoy_AnswersPreflights(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f := w.serveEnvoy(t, nil)
	const page, stranger = "https://shop.example", "https://stranger.example"
	preflight := func(origin string) http.Header {
		return http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Headers": {"x-api-key"}}
	}
	expectOrigin := func(t *testing.T, a clientResponse, want string) {
		t.Helper()
		if got := a.header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != want {
			t.Errorf("the response is for origins %q, want %s", got, want)
		}
	}
	t.Run("a preflight does not reach the application", func(t *testing.T) {
		a := f.send(t, clientRequest{method: http.MethodOptions, path: "/shop/7", header: preflight(page)})
		if a.status != http.StatusOK || len(a.received) != 0 {
			t.Errorf("it was answered %d and reached the application as %v", a.status, a.received)
		}
		expectOrigin(t, a, page)
	})
	t.Run("a page can read a denial", func(t *testing.T) {
		for about, header := range map[string]http.Header{
			"without a key":     {"Origin": {page}},
			"with a preflight":  preflight(page),
			"with a wrong key":  {"Origin": {page}, "X-API-Key": {"wrong"}},
			"with an ended key": {"Origin": {page}, "X-API-Key": {w.keys["revoked"].material}},
		} {
			a := f.send(t, clientRequest{path: "/shop/7", header: header})
			if a.status != http.StatusUnauthorized || len(a.received) != 0 || a.header.Get("Access-Control-Expose-Headers") != "www-authenticate" {
				t.Errorf("%s: it was answered %d with %v", about, a.status, a.header)
			}
			expectOrigin(t, a, page)
		}
	})
	t.Run("a page can use a key", func(t *testing.T) {
		q := w.requestWithKey("full")
		q.path, q.header["Origin"] = "/shop/7", []string{page}
		f.expectAllowed(t, q, w.fullIdentity())
		expectOrigin(t, f.send(t, q), page)
	})
	t.Run("a page of another origin cannot", func(t *testing.T) {
		f.expectDenied(t, clientRequest{method: http.MethodOptions, path: "/shop/7", header: preflight(stranger)}, http.StatusUnauthorized, "MISSING")
		q := w.requestWithKey("full")
		q.path, q.header["Origin"] = "/shop/7", []string{stranger}
		if a := f.send(t, q); a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("its response is for origin %s", a.header.Get("Access-Control-Allow-Origin"))
		}
	})
	t.Run("another OPTIONS request needs a key", func(t *testing.T) {
		f.expectDenied(t, clientRequest{method: http.MethodOptions, path: "/shop/7", header: http.Header{"Origin": {page}}}, http.StatusUnauthorized, "MISSING")
	})
}
