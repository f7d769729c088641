// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"encoding/base64"
	"net/http"
	"testing"
)

// testPreflight sends the requests of a browser for a page of another origin: a preflight without a key, and then the request.
func (w *suite) testPreflight(t *testing.T, f *runningGateway) {
	page := func(more ...string) http.Header {
		h := http.Header{"Origin": {"https://shop.example"}}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = []string{more[i+1]}
		}
		return h
	}
	preflight := page("Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "x-api-key")
	t.Run("a preflight reaches the application without identity headers", func(t *testing.T) {
		q := clientRequest{method: http.MethodOptions, path: "/orders/7", header: preflight.Clone()}
		q.header["X-Apikey-Id"] = []string{"forged"}
		if s := f.expectAllowed(t, q, map[string]string{}); s.method != http.MethodOptions {
			t.Errorf("the application sees %s", s.method)
		}
	})
	t.Run("a preflight on another route is denied", func(t *testing.T) {
		f.expectDenied(t, clientRequest{method: http.MethodOptions, path: "/stock", header: preflight}, http.StatusUnauthorized, "MISSING")
	})
	t.Run("other requests without a key are denied", func(t *testing.T) {
		for about, q := range map[string]clientRequest{
			"another method":                           {method: http.MethodGet, header: preflight},
			"another method with forged headers":       {method: http.MethodGet, header: page("Access-Control-Request-Method", "GET", "X-Forwarded-Method", "OPTIONS", "X-Original-Method", "OPTIONS", "X-Http-Method-Override", "OPTIONS")},
			"another method through the load balancer": {method: http.MethodDelete, from: "127.0.0.1", header: page("Access-Control-Request-Method", "GET", "X-Forwarded-Method", "OPTIONS")},
			"OPTIONS without Origin":                   {method: http.MethodOptions, header: http.Header{"Access-Control-Request-Method": {"GET"}}},
			"OPTIONS without a requested method":       {method: http.MethodOptions, header: page()},
		} {
			q.path = "/orders/7"
			t.Run(about, func(t *testing.T) { f.expectDenied(t, q, http.StatusUnauthorized, "MISSING") })
		}
	})
	t.Run("pages can read a denial", func(t *testing.T) {
		a := f.send(t, clientRequest{path: "/orders/7", header: page("X-API-Key", w.keys["revoked"].material)})
		if got := a.header.Values("Access-Control-Allow-Origin"); a.status != http.StatusUnauthorized || len(got) != 1 || got[0] != "*" {
			t.Errorf("it was answered %d, for origins %q", a.status, got)
		}
	})
}

// testOwnCredentials sends a key in addition to credentials for the application.
func (w *suite) testOwnCredentials(t *testing.T, f *runningGateway) {
	material := w.keys["full"].material
	for about, authorization := range map[string]string{
		"a JWT":   "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJvbGdhIn0.",
		"Basic":   "Basic " + base64.StdEncoding.EncodeToString([]byte("olga:secret")),
		"another": `Digest username="olga", realm="shop"`,
	} {
		t.Run(about, func(t *testing.T) {
			s := f.expectAllowed(t, clientRequest{header: http.Header{"X-API-Key": {material}, "Authorization": {authorization}, "Cookie": {"session=s3ss10n; a=b"}}}, w.fullIdentity())
			if got := s.header.Values("Authorization"); len(got) != 1 || got[0] != authorization {
				t.Errorf("the application sees Authorization %q", got)
			}
			if got := s.header.Get("Cookie"); got != "session=s3ss10n; a=b" {
				t.Errorf("the application sees Cookie %q", got)
			}
			if places := s.placesOfKey(material); len(places) != 0 {
				t.Errorf("the application sees the key in %v", places)
			}
		})
	}
	t.Run("the key as a bearer, and another X-API-Key", func(t *testing.T) {
		s := f.expectAllowed(t, clientRequest{header: http.Header{"X-API-Key": {"of-the-application"}, "Authorization": {"Bearer " + material}}}, w.fullIdentity())
		if got := s.header.Get("X-API-Key"); got != "of-the-application" {
			t.Errorf("the application sees X-API-Key %q", got)
		}
		if places := s.placesOfKey(material); len(places) != 0 {
			t.Errorf("the application sees the key in %v", places)
		}
	})
}
