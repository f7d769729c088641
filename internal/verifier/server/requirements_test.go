// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// TestRequirements_NameIsNotExternalID presents a key of an account whose name equals the external ID of another one,
// and a key of an account without an external ID, to all protocols with a required external ID.
func TestRequirements_NameIsNotExternalID(t *testing.T) {
	t.Parallel()
	byID, byName := serve(t, claim, server.Options{}), serve(t, claimName, server.Options{})
	plain := serve(t, setup{}, server.Options{})
	for name, key := range map[string]string{"named like the ID": borrowedKey, "without an ID": plainKey} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, target := range []string{
				"/authz?externalID=ext-1", "/authz?externalID=ext-1&scopes=x", "/authz/orders?externalID=",
				"/authz/orders?account=",
			} {
				expectMismatch(t, target, send(t, plain.http, http.MethodGet, target, header("X-Api-Key", key), ""))
			}
			for _, value := range []string{"ext-1", "", " ", "ext-1,ext-1"} {
				about := "header with " + value
				expectMismatch(t, about, send(t, byID.http, http.MethodGet, "/authz", header("X-Api-Key", key, "X-Ff-Company", value), ""))
			}
			expectMismatch(t, "empty name in header",
				send(t, byName.http, http.MethodGet, "/authz", header("X-Api-Key", key, "X-Ff-Company", ""), ""))
			body := `{"key":"` + key + `","externalID":"ext-1"}`
			if got := postJSON(t, plain, "/v1/verify", body); got["code"] != "ACCOUNT_MISMATCH" {
				t.Errorf("verify returns the code %v", got["code"])
			}
			for extension, value := range map[string]string{"externalID": "ext-1", "account": ""} {
				r := envoyRequest("/", map[string]string{"x-api-key": key}, map[string]string{extension: value})
				answer, err := setup{}.authorizer(t).ExtAuthz().Check(t.Context(), r)
				if err != nil || answer.GetStatus().GetCode() == 0 {
					t.Errorf("%s=%s over gRPC: %v, %v", extension, value, answer, err)
				}
			}
		})
	}
}

func expectMismatch(t *testing.T, about string, a answer) {
	t.Helper()
	if scopes := strings.Contains(about, "scopes"); a.status != http.StatusForbidden || !scopes &&
		!strings.Contains(a.body, "ACCOUNT_MISMATCH") {
		t.Errorf("%s: got %d %s", about, a.status, a.body)
	}
}
