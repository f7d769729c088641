// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// callGRPC calls a method of a gRPC service behind the gateway, and returns the status. It fails the test if the call reaches
// the application.
func (f *runningGateway) callGRPC(t *testing.T, method, key string) *status.Status {
	t.Helper()
	ctx := t.Context()
	if key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-api-key", key)
	}
	err := f.grpcClient(t).Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
	if received := f.application.takeRequests(); len(received) != 0 {
		t.Errorf("%s reached the application: %v", method, received)
	}
	return status.Convert(err)
}

// TestEnvoy_DeniesGRPCCalls checks the status that a gRPC client receives, and the code of the verifier in its message.
func TestEnvoy_DeniesGRPCCalls(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f := w.serveEnvoy(t, nil)
	for about, c := range map[string]struct {
		method, key string
		status      codes.Code
		code        string
	}{
		"no key":        {"/stock.Stock/List", "", codes.Unauthenticated, "MISSING"},
		"a revoked key": {"/stock.Stock/List", w.keys["revoked"].material, codes.Unauthenticated, "REVOKED"},
		"no scope":      {"/orders.Orders/List", w.keys["plain"].material, codes.PermissionDenied, "SCOPE_MISSING"},
	} {
		t.Run(about, func(t *testing.T) {
			got := f.callGRPC(t, c.method, c.key)
			if got.Code() != c.status || !strings.Contains(got.Message(), `"code":"`+c.code+`"`) {
				t.Errorf("the client receives %s: %s", got.Code(), got.Message())
			}
		})
	}
}
