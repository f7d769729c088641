// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestEnvoy_RetriesOnce counts the calls of a verifier whose first calls fail.
func TestEnvoy_RetriesOnce(t *testing.T) {
	t.Parallel()
	for about, c := range map[string]struct {
		failures int32
		code     codes.Code
		calls    int32
		status   int
	}{
		"no failure":            {0, codes.OK, 1, http.StatusOK},
		"one failure":           {1, codes.Unavailable, 2, http.StatusOK},
		"two failures":          {2, codes.Unavailable, 2, http.StatusServiceUnavailable},
		"a failure of its code": {1, codes.Internal, 1, http.StatusServiceUnavailable},
	} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			verifier := startFakeVerifier(t, func(r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
				if r.GetAttributes().GetRequest().GetHttp().GetPath() == "/stock" && calls.Add(1) <= c.failures {
					return nil, status.Error(c.code, "it fails")
				}
				return &authv3.CheckResponse{}, nil
			})
			f := (&suite{}).serve(t, gatewayNamed("envoy"), verifier)
			if a := f.send(t, clientRequest{path: "/stock"}); a.status != c.status || calls.Load() != c.calls {
				t.Errorf("it was answered %d after %d calls, want %d after %d", a.status, calls.Load(), c.status, c.calls)
			}
		})
	}
}
