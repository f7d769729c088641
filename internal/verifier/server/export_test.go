// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// CloseListener closes a listener to simulate a failure.
func (s *Server) CloseListener(flag string) {
	for _, l := range s.listeners {
		if l.flag == flag {
			_ = l.Close()
		}
	}
}

// Redact exports redact for tests.
var Redact = redact

// Codec returns the codec of the gRPC server.
func Codec() encoding.CodecV2 { return newCheckCodec() }

// RegisterExtAuthz adds the service for Envoy to a server, which must use Codec.
func (a *Authorizer) RegisterExtAuthz(s grpc.ServiceRegistrar) { newExtAuthz(a).register(s) }

// EncodedCheck returns a function that handles an encoded request, as gRPC does, and returns the encoded response.
func (a *Authorizer) EncodedCheck() func(mem.BufferSlice) (mem.BufferSlice, error) {
	s, codec := newExtAuthz(a), newCheckCodec()
	return func(request mem.BufferSlice) (mem.BufferSlice, error) {
		response, err := handleCheck(s, context.Background(), func(into any) error { return codec.Unmarshal(request, into) }, nil)
		if err != nil {
			return nil, err
		}
		return codec.Marshal(response)
	}
}

// ExtAuthz returns the service for Envoy, for tests that need no connection. It encodes requests, and decodes responses.
func (a *Authorizer) ExtAuthz() authv3.AuthorizationServer {
	return &encodedExtAuthz{check: a.EncodedCheck()}
}

type encodedExtAuthz struct {
	authv3.UnimplementedAuthorizationServer

	check func(mem.BufferSlice) (mem.BufferSlice, error)
}

func (s *encodedExtAuthz) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	codec := newCheckCodec()
	request, err := codec.Marshal(r)
	if err != nil {
		return nil, err
	}
	response, err := s.check(request)
	if err != nil {
		return nil, err
	}
	defer response.Free()
	decoded := &authv3.CheckResponse{}
	return decoded, codec.Unmarshal(response, decoded)
}
