// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// testFailures sends more unknown keys than a client may send. Addresses of the loopback network are client addresses.
func (w *suite) testFailures(t *testing.T, g *gateway) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: limits of clients were not tested: only Linux has all of 127.0.0.0/8")
	}
	const client, neighbor = "127.0.0.4", "127.0.0.5"
	// Other gateways do not share this verifier, so that it counts the requests of this one only.
	flags := append([]string{trustedProxyFlag, "--max-failures-per-client=4/h"}, g.verifierFlags...)
	v := w.verifiers.Start(t, controlplane.VerifierOptions{Flags: flags})
	t.Cleanup(v.Kill)
	f := w.serve(t, g, g.addressOf(v))
	unknown := clientRequest{from: client, header: http.Header{"X-API-Key": {strings.Repeat("x", 60)}}}
	allowed, status := 4, http.StatusTooManyRequests
	if g.asksTwice {
		allowed, status = 2, http.StatusForbidden
	}
	for range allowed {
		f.expectDenied(t, unknown, http.StatusUnauthorized, "UNKNOWN")
	}
	f.expectDenied(t, unknown, status, "TOO_MANY_FAILURES")
	if a := f.send(t, unknown); a.header.Get("Retry-After") != "900" {
		t.Errorf("the client is told to retry after %q", a.header.Values("Retry-After"))
	}
	known := w.requestWithKey("full")
	known.from = client
	f.expectAllowed(t, known, w.fullIdentity())
	unknown.from = neighbor
	f.expectDenied(t, unknown, http.StatusUnauthorized, "UNKNOWN")
}
