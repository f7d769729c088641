// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// checkCodec is the codec of the gRPC server. It decodes requests of ext_authz without the generated types, and sends responses
// that are encoded already. All other messages, such as those of gRPC health, have generated types.
type checkCodec struct{ encoding.CodecV2 }

func newCheckCodec() checkCodec { return checkCodec{encoding.GetCodecV2(proto.Name)} }

// Unmarshal implements encoding.CodecV2. The message does not refer to data afterwards.
func (c checkCodec) Unmarshal(data mem.BufferSlice, message any) error {
	r, ok := message.(*checkRequest)
	if !ok {
		return c.CodecV2.Unmarshal(data, message)
	}
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	return r.unmarshal(buffer.ReadOnlyData())
}

// Marshal implements encoding.CodecV2. A mem.Buffer is an encoded message.
func (c checkCodec) Marshal(message any) (mem.BufferSlice, error) {
	if encoded, ok := message.(mem.Buffer); ok {
		return mem.BufferSlice{encoded}, nil
	}
	return c.CodecV2.Marshal(message)
}

// register adds the service to a server, which must use a checkCodec.
func (s *extAuthz) register(registrar grpc.ServiceRegistrar) {
	registrar.RegisterService(&grpc.ServiceDesc{
		ServiceName: authv3.Authorization_ServiceDesc.ServiceName, Metadata: authv3.Authorization_ServiceDesc.Metadata,
		HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: "Check", Handler: handleCheck}},
	}, s)
}

// handleCheck handles a call of Check, like the generated handler.
func handleCheck(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // the signature is that of grpc
	s := srv.(*extAuthz)
	r := s.requests.Get().(*checkRequest)
	defer func() {
		r.reset()
		s.requests.Put(r)
	}()
	if err := decode(r); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return s.check(r), nil
	}
	info := &grpc.UnaryServerInfo{Server: s, FullMethod: authv3.Authorization_Check_FullMethodName}
	return interceptor(ctx, r, info, func(context.Context, any) (any, error) { return s.check(r), nil })
}
