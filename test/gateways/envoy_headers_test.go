// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"net/http"
	"strings"
	"testing"
)

// joinedHeaders is a change of the sample: Envoy joins repeated headers by commas and replaces bytes that are not UTF-8.
var joinedHeaders = []string{"encode_raw_headers: true", "encode_raw_headers: false"}

// TestEnvoy_RepeatedAndInvalidHeaders sends headers that a gateway, the verifier and an application may read in different ways,
// with and without encode_raw_headers.
func TestEnvoy_RepeatedAndInvalidHeaders(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	for about, changes := range map[string][]string{"raw": nil, "joined": joinedHeaders} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			f := w.serveEnvoy(t, nil, changes...)
			w.testDeniedHeaders(t, f)
			w.testAllowedHeaders(t, f)
			w.testInvalidBytes(t, f)
			// The verifier must not have failed at any of these requests, or Envoy would not ask it for a while.
			f.expectAllowed(t, w.requestWithKey("full"), w.fullIdentity())
		})
	}
}

// requestText returns a request with these header lines.
func requestText(lines ...string) string {
	return "GET /stock HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func (w *suite) testDeniedHeaders(t *testing.T, f *runningGateway) {
	full, plain := w.keys["full"].material, w.keys["plain"].material
	for about, lines := range map[string][]string{
		"two keys":                      {"X-API-Key: " + full, "X-API-Key: " + plain},
		"the same key twice":            {"X-API-Key: " + full, "X-API-Key: " + full},
		"two keys in one header":        {"X-API-Key: " + full + "," + plain},
		"the same key in one header":    {"X-API-Key: " + full + ", " + full},
		"two bearer tokens":             {"Authorization: Bearer " + full, "Authorization: Bearer " + plain},
		"two bearer tokens in one":      {"Authorization: Bearer " + full + ", Bearer " + plain},
		"a key and a byte":              {"X-API-Key: " + full + "\xff"},
		"a byte and a key":              {"X-API-Key: \xff" + full},
		"a key with a byte in it":       {"X-API-Key: " + full[:9] + "\xc3" + full[9:]},
		"a key and an exclamation mark": {"X-API-Key: " + full + "!"},
		"a key in two lines":            {"X-API-Key: " + full[:9], "X-API-Key: " + full[9:]},
		"an empty key":                  {"X-API-Key:"},
		"a key in another header":       {"X-Key: " + full, "Cookie: x-api-key=" + full},
	} {
		if a := f.sendText(t, requestText(lines...)); a.status != http.StatusUnauthorized || len(a.received) != 0 {
			t.Errorf("%s: it was answered %d and reached the application as %v", about, a.status, a.received)
		}
	}
}

func (w *suite) testAllowedHeaders(t *testing.T, f *runningGateway) {
	full := w.keys["full"].material
	for about, lines := range map[string][]string{
		"another header with bytes":       {"X-API-Key: " + full, "X-Other: \xff\xfe"},
		"repeated other headers":          {"X-API-Key: " + full, "X-Other: a", "X-Other: b"},
		"a credential of the application": {"X-API-Key: " + full, "Authorization: Custom \xff\xfe"},
		"an origin with bytes":            {"X-API-Key: " + full, "Origin: \xff"},
		"an empty Authorization":          {"X-API-Key: " + full, "Authorization:"},
	} {
		a := f.sendText(t, requestText(lines...))
		if a.status != http.StatusOK || len(a.received) != 1 {
			t.Errorf("%s: it was answered %d %s", about, a.status, a.body)
			continue
		}
		if places := a.received[0].placesOfKey(full); len(places) != 0 {
			t.Errorf("%s: the application sees the key in %v", about, places)
		}
		for _, line := range lines[1:] {
			name, value, _ := strings.Cut(line, ":")
			if got := strings.Join(a.received[0].header.Values(name), " and "); !strings.Contains(got, strings.TrimSpace(value)) {
				t.Errorf("%s: the application sees %s %q", about, name, got)
			}
		}
	}
}

// testInvalidBytes sends bytes that are not UTF-8 in every part of a request that Envoy passes to the verifier.
func (w *suite) testInvalidBytes(t *testing.T, f *runningGateway) {
	key := "X-API-Key: " + w.keys["full"].material
	for about, text := range map[string]string{
		"in the path":           "GET /stock/\xff\xfe HTTP/1.1\r\nHost: HOST\r\n" + key,
		"in the query":          "GET /stock?a=\xff HTTP/1.1\r\nHost: HOST\r\n" + key,
		"in the host":           "GET /stock HTTP/1.1\r\nHost: a\xff\r\n" + key,
		"in the method":         "G\xffT /stock HTTP/1.1\r\nHost: HOST\r\n" + key,
		"in X-Forwarded-For":    "GET /stock HTTP/1.1\r\nHost: HOST\r\nX-Forwarded-For: \xff\r\n" + key,
		"in X-Request-Id":       "GET /stock HTTP/1.1\r\nHost: HOST\r\nX-Request-Id: \xff\r\n" + key,
		"in X-Forwarded-Proto":  "GET /stock HTTP/1.1\r\nHost: HOST\r\nX-Forwarded-Proto: \xff\r\n" + key,
		"in a requested method": "OPTIONS /orders HTTP/1.1\r\nHost: HOST\r\nOrigin: a\r\nAccess-Control-Request-Method: \xff",
	} {
		if a := f.sendText(t, text+"\r\nConnection: close\r\n\r\n"); a.status >= 500 {
			t.Errorf("%s: it was answered %d %s", about, a.status, a.body)
		}
	}
}
