// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import "testing"

// testMetadataHeader passes an entry of the metadata of keys to the application. It changes the samples as docs/gateways.md
// says.
func (w *suite) testMetadataHeader(t *testing.T, g *gateway) {
	const nginxRead, nginxSet = "auth_request_set $apikey_plan $upstream_http_x_apikey_plan;", "proxy_set_header X-Apikey-Plan $apikey_plan;"
	flags := append([]string{"--metadata-header=team=X-Apikey-Team"}, g.verifierFlags...)
	f := w.serve(t, g, g.addressOf(w.verifier(t, flags...)),
		nginxRead, nginxRead+" auth_request_set $apikey_team $upstream_http_x_apikey_team;",
		nginxSet, nginxSet+" proxy_set_header X-Apikey-Team $apikey_team;",
		`"x-apikey-plan",`, `"x-apikey-plan", "x-apikey-team",`,
		"X-Apikey-Plan X-API-Key", "X-Apikey-Plan X-Apikey-Team X-API-Key",
	)
	identity := w.fullIdentity()
	identity["x-apikey-team"] = "Almac%C3%A9n 7"
	for name, want := range map[string]map[string]string{"full": identity, "plain": w.identityOf("plain")} {
		q := w.requestWithKey(name)
		f.expectAllowed(t, q, want)
		q.header["X-Apikey-Team"] = []string{"forged", "forged again"}
		f.expectAllowed(t, q, want)
	}
}
