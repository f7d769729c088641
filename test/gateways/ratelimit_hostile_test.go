// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"net/http"
	"testing"
)

// TestRateLimit_HostileRequests sends the sample of rate limits what that of Envoy rejects or removes, too. Envoy itself cleans /..;/.
func TestRateLimit_HostileRequests(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f, _ := w.serveLimited(t, http2Application...)
	material := w.keys["plain"].material
	t.Run("forged trailers are removed", func(t *testing.T) {
		f.expectNoForgedTrailers(t, f.sendTrailers(t, "/stock", material))
	})
	for _, path := range []string{"/stock/%2e.;/orders/7", "/stock/..%3B/orders/7", "/;/orders/7", "/%3b/orders/7"} {
		t.Run(path, func(t *testing.T) {
			if a := f.sendRaw(t, path, material); a.status != http.StatusBadRequest || len(a.received) != 0 {
				t.Errorf("it was answered %d and reached the application as %v", a.status, a.received)
			}
		})
	}
}
