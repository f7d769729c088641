// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"slices"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// No response has a header with an empty value: gateways disagree on whether that removes a header, or sends it.
func TestResponses_HaveNoEmptyHeaders(t *testing.T) {
	t.Parallel()
	s := setup{sources: []string{"header:X-API-Key", "header:Authorization:Bearer", "cookie:session", "basic"}}
	at := serve(t, s, server.Options{})
	client := authv3.NewAuthorizationClient(dial(t, at.grpc))
	for _, key := range append(slices.Clone(knownKeys), unknownKey, "") {
		for _, sent := range []map[string]string{
			{"x-api-key": key},
			{"x-api-key": key, "authorization": "", "cookie": ""},
			{"authorization": "Bearer " + key, "x-api-key": ""},
			{"cookie": "session=" + key},
			{"x-api-key": key, "cookie": "session=" + key},
		} {
			response, err := client.Check(t.Context(), envoyRequest("/", sent, nil))
			if err != nil {
				t.Fatal(err)
			}
			for _, option := range append(response.GetOkResponse().GetHeaders(), response.GetDeniedResponse().GetHeaders()...) {
				if option.GetHeader().GetValue() == "" {
					t.Errorf("over gRPC, %v gets an empty %s", sent, option.GetHeader().GetKey())
				}
			}
			h := header()
			for name, value := range sent {
				h.Set(name, value)
			}
			for name, values := range send(t, at.http, "GET", "/authz", h, "").header {
				if slices.Contains(values, "") {
					t.Errorf("over HTTP, %v gets an empty %s", sent, name)
				}
			}
		}
	}
}
