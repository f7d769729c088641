// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/go-logr/logr/funcr"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"k8s.io/utils/clock"

	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// allowAll allows all requests. It measures the minimum cost of a server with this protocol.
type allowAll struct {
	authv3.UnimplementedAuthorizationServer
}

func (allowAll) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{Status: &rpcstatus.Status{}}, nil
}

// BenchmarkExtAuthz compares the verifier with a server that allows all requests, over an in-memory connection. The
// client does not decode responses, because Envoy does that on its own CPU.
func BenchmarkExtAuthz(b *testing.B) {
	authorizer := setup{options: server.AuthorizerOptions{Clock: clock.RealClock{}}}.authorizer(b)
	for name, newServer := range map[string]func() *grpc.Server{
		"always": func() *grpc.Server {
			s := grpc.NewServer()
			authv3.RegisterAuthorizationServer(s, allowAll{})
			return s
		},
		"verifier": func() *grpc.Server { return newGRPC(authorizer) },
	} {
		b.Run(name, func(b *testing.B) {
			connection := dialInMemory(b, newServer())
			request := benchRequest()
			if r, err := authv3.NewAuthorizationClient(connection).Check(b.Context(), request); err != nil || r.GetStatus().GetCode() != 0 {
				b.Fatal(r, err)
			}
			b.ReportAllocs()
			before := processorTime(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := connection.Invoke(b.Context(), authv3.Authorization_Check_FullMethodName, request, &emptypb.Empty{}); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkExtAuthz_InProcess measures checks without a connection, from the encoded request to the encoded response.
func BenchmarkExtAuthz_InProcess(b *testing.B) {
	for name, index := range map[string]*verifier.Index{"plain": newIndex(), "attributes": indexWithAttributes()} {
		b.Run(name, func(b *testing.B) {
			authorizer := setup{index: index, options: server.AuthorizerOptions{Clock: clock.RealClock{}}}.authorizer(b)
			benchEncoded(b, authorizer, benchRequest())
		})
	}
}

// benchEncoded measures requests to an authorizer in turn.
func benchEncoded(b *testing.B, authorizer *server.Authorizer, requests ...*authv3.CheckRequest) {
	b.Helper()
	encoded := make([]mem.BufferSlice, len(requests))
	for i, r := range requests {
		wire, err := proto.Marshal(r)
		if err != nil {
			b.Fatal(err)
		}
		encoded[i] = mem.BufferSlice{mem.SliceBuffer(wire)}
	}
	check := authorizer.EncodedCheck()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		response, err := check(encoded[i%len(encoded)])
		if err != nil {
			b.Fatal(err)
		}
		response.Free()
	}
}

func benchRequest() *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: peer("192.0.2.7", 0),
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: "/orders?page=2", Host: "api.example.com", Protocol: "HTTP/1.1",
			Headers: map[string]string{
				":authority": "api.example.com", ":method": "GET", ":path": "/orders?page=2", "accept": "*/*", "user-agent": "bench",
				"x-api-key": goodKey, "x-request-id": "6f1c", "x-forwarded-proto": "https",
			},
		}},
		ContextExtensions: map[string]string{"scopes": "orders:read"},
	}}
}

// dialExtAuthz serves the verdicts of an authorizer in memory and returns a connection to them.
func dialExtAuthz(t testing.TB, authorizer *server.Authorizer) *grpc.ClientConn {
	t.Helper()
	return dialInMemory(t, newGRPC(authorizer))
}

// newGRPC returns a gRPC server of an authorizer, with gRPC's defaults except for the codec.
func newGRPC(authorizer *server.Authorizer) *grpc.Server {
	s := grpc.NewServer(grpc.ForceServerCodecV2(server.Codec()))
	authorizer.RegisterExtAuthz(s)
	return s
}

// dialInMemory runs a server in memory and returns a connection to it.
func dialInMemory(t testing.TB, s *grpc.Server) *grpc.ClientConn {
	t.Helper()
	wire := bufconn.Listen(1 << 20)
	done := make(chan error, 1)
	go func() { done <- s.Serve(wire) }()
	connection, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return wire.Dial() }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := connection.Close(); err != nil {
			t.Error(err)
		}
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return connection
}

// BenchmarkExtAuthz_ManyKeys uses many keys in turn.
func BenchmarkExtAuthz_ManyKeys(b *testing.B) {
	const many = 20_000
	x, requests := verifier.NewIndex(), make([]*authv3.CheckRequest, many)
	x.PutAccount(keystest.NewAccount("acme"))
	for i := range requests {
		name := fmt.Sprintf("key-%d", i)
		x.PutKey(keystest.Key(name, keystest.Scopes("orders:read"), keystest.Issued(keystest.Epoch)))
		requests[i] = benchRequest()
		requests[i].GetAttributes().GetRequest().GetHttp().Headers["x-api-key"] = string(keystest.MaterialOf("default/" + name))
	}
	x.SetComplete()
	benchEncoded(b, setup{index: x, options: server.AuthorizerOptions{Clock: clock.RealClock{}}}.authorizer(b), requests...)
}

// BenchmarkExtAuthz_Denied measures a flood of requests without a valid key, with an audit line for each.
func BenchmarkExtAuthz_Denied(b *testing.B) {
	audit := server.NewAudit(funcr.NewJSON(func(string) {}, funcr.Options{}), 0)
	authorizer := setup{options: server.AuthorizerOptions{Clock: clock.RealClock{}, Audit: audit}}.authorizer(b)
	for name, path := range map[string]string{
		"usual path": "/v1/customers/4711/orders?page=2", "key in the path": "/orders/" + unknownKey,
		"128 KiB": strings.Repeat("/"+unknownKey, 4000),
	} {
		b.Run(name, func(b *testing.B) {
			benchEncoded(b, authorizer, envoyRequest(path, map[string]string{"x-api-key": unknownKey}, nil))
		})
	}
}

// BenchmarkExtAuthz_Failures measures requests with --max-failures-per-client: with a valid key, and a flood of unknown
// keys from one address, beyond the limit. Compare them with BenchmarkExtAuthz_InProcess and BenchmarkExtAuthz_Denied.
func BenchmarkExtAuthz_Failures(b *testing.B) {
	audit := server.NewAudit(funcr.NewJSON(func(string) {}, funcr.Options{}), 0)
	limiter := verifier.NewFailureLimiter(verifier.FailureRate{Count: 60, Unit: time.Minute})
	authorizer := setup{options: server.AuthorizerOptions{Clock: clock.RealClock{}, Audit: audit, Failures: limiter}}.authorizer(b)
	flood := envoyRequest("/v1/customers/4711/orders?page=2", map[string]string{"x-api-key": unknownKey}, nil)
	for name, request := range map[string]*authv3.CheckRequest{"valid key": benchRequest(), "flood": flood} {
		b.Run(name, func(b *testing.B) { benchEncoded(b, authorizer, request) })
	}
}
