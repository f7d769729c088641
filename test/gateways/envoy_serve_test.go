// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// serveEnvoy runs Envoy with its sample in front of the verifier with these flags, which all tests share.
func (w *suite) serveEnvoy(t *testing.T, verifierFlags []string, changes ...string) *runningGateway {
	t.Helper()
	return w.serve(t, gatewayNamed("envoy"), w.verifier(t, append(verifierFlags, trustedAddresses()...)...).GRPC, changes...)
}

// severalEndpoints is a change of the sample: these verifiers instead of one.
func severalEndpoints(addresses ...string) []string {
	var endpoints []string
	for _, address := range addresses {
		endpoints = append(endpoints, socketAddress(address))
	}
	const between = "\n              - endpoint:\n                  address:\n                    "
	return []string{socketAddress(envoyVerifier), strings.Join(endpoints, between)}
}

// fakeVerifier is an ext_authz server that responds as a test says.
type fakeVerifier struct {
	authv3.UnimplementedAuthorizationServer

	respond func(*authv3.CheckRequest) (*authv3.CheckResponse, error)
}

// Check implements authv3.AuthorizationServer.
func (v fakeVerifier) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return v.respond(r)
}

// startFakeVerifier starts a fakeVerifier and returns its address.
func startFakeVerifier(t *testing.T, respond func(*authv3.CheckRequest) (*authv3.CheckResponse, error)) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	controlplanetest.Must(t, err)
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, fakeVerifier{respond: respond})
	healthv1.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// http2Client returns a client that speaks HTTP/2 without TLS.
func http2Client(t *testing.T) *http.Client {
	t.Helper()
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: controlplanetest.Timeout}
}

// grpcClient returns a connection of a gRPC client to the gateway.
func (f *runningGateway) grpcClient(t *testing.T) *grpc.ClientConn {
	t.Helper()
	connection, err := grpc.NewClient(strings.TrimPrefix(f.url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	controlplanetest.Must(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}
