// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"net/http"
	"testing"

	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// TestServer_ForbidsCaching checks the Cache-Control header of all known paths and of an unknown one.
func TestServer_ForbidsCaching(t *testing.T) {
	t.Parallel()
	at := serve(t, setup{}, server.Options{})
	for _, url := range []string{
		at.http + "/authz", at.http + "/authz?scope=a", at.http + "/v1/verify", at.http + "/v1/explain", at.http + "/nothing", at.http + "/",
		at.probe + "/healthz", at.probe + "/readyz", at.probe + "/nothing",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions, http.MethodDelete} {
			request, err := http.NewRequestWithContext(t.Context(), method, "http://"+url, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if got := response.Header.Values("Cache-Control"); len(got) != 1 || got[0] != "no-store" {
				t.Errorf("%s %s: %d with Cache-Control %q", method, url, response.StatusCode, got)
			}
		}
	}
}
