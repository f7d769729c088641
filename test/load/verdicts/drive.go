// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// phase holds the results of one server in one round.
type phase struct {
	rate      float64       // checks a second
	p50, p99  time.Duration // as the one who asks sees it
	processor time.Duration // of the server, for each check
}

// wanted is the expected response.
type wanted int

const (
	wantAny wanted = iota
	wantOK
	wantDenial
)

func wantedOf(what string) wanted {
	if what == "valid" {
		return wantOK
	}
	return wantDenial
}

func (w wanted) check(got codes.Code) error {
	if ok := got == codes.OK; w == wantOK && !ok || w == wantDenial && ok {
		return fmt.Errorf("a key came out the other way: %s", got)
	}
	return nil
}

// asker sends one request, and returns the status of the response.
type asker func(context.Context, *authv3.CheckRequest) (codes.Code, error)

// reads decodes the whole response.
func reads(connection *grpc.ClientConn) asker {
	client := authv3.NewAuthorizationClient(connection)
	return func(ctx context.Context, question *authv3.CheckRequest) (codes.Code, error) {
		answer, err := client.Check(ctx, question)
		return codes.Code(answer.GetStatus().GetCode()), err
	}
}

// skims decodes the status code of the response only.
func skims(connection *grpc.ClientConn) asker {
	return func(ctx context.Context, question *authv3.CheckRequest) (codes.Code, error) {
		var answer emptypb.Empty
		if err := connection.Invoke(ctx, authv3.Authorization_Check_FullMethodName, question, &answer); err != nil {
			return codes.Unknown, err
		}
		status := firstField(answer.ProtoReflect().GetUnknown())
		code, _ := protowire.ConsumeVarint(firstField(status))
		return codes.Code(code), nil
	}
}

// firstField returns the value of the field with number 1, or nil if there is none.
func firstField(message []byte) []byte {
	number, kind, n := protowire.ConsumeTag(message)
	switch {
	case n < 0 || number != 1:
		return nil
	case kind == protowire.BytesType:
		content, _ := protowire.ConsumeBytes(message[n:])
		return content
	}
	return message[n:]
}

// drive sends requests to one server for the length of a phase, with several concurrent requests on each connection.
func (b *bench) drive(ctx context.Context, s server, key func(int) string, want wanted) (phase, error) {
	asking, cancel := context.WithTimeout(ctx, b.phase)
	defer cancel()
	before, err := s.processor()
	if err != nil {
		return phase{}, err
	}
	start := time.Now()
	times, err := b.askAll(ctx, asking, s.address, key, want)
	took := time.Since(start)
	after, more := s.processor()
	if err := errors.Join(err, more); err != nil {
		return phase{}, err
	}
	if len(times) == 0 {
		return phase{}, errors.New("nothing was answered")
	}
	slices.Sort(times)
	return phase{
		rate: float64(len(times)) / took.Seconds(), p50: quantile(times, 0.5), p99: quantile(times, 0.99),
		processor: (after - before) / time.Duration(len(times)),
	}, nil
}

// askAll sends requests until asking ends, and returns the latency of each response.
func (b *bench) askAll(ctx, asking context.Context, address string, key func(int) string, want wanted) ([]time.Duration, error) {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		all   []time.Duration
		first error
		next  atomic.Int64
	)
	check := reads
	if b.skim {
		check = skims
	}
	for range b.connections {
		connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		defer func() { _ = connection.Close() }()
		for range b.burst {
			group.Go(func() {
				times, err := ask(ctx, asking, check(connection), func() string { return key(int(next.Add(1))) }, want)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, times...)
				if first == nil {
					first = err
				}
			})
		}
	}
	group.Wait()
	return all, first
}

func ask(ctx, asking context.Context, check asker, key func() string, want wanted) ([]time.Duration, error) {
	var times []time.Duration
	for asking.Err() == nil {
		question := envoys(key())
		start := time.Now()
		code, err := check(ctx, question)
		if err != nil {
			return times, err
		}
		times = append(times, time.Since(start))
		if err := want.check(code); err != nil {
			return times, err
		}
	}
	return times, nil
}

// envoys returns a request as Envoy sends it, of the size of a browser's request.
func envoys(key string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:      &authv3.AttributeContext_Peer{Address: address("192.0.2.7", 41234)},
		Destination: &authv3.AttributeContext_Peer{Address: address("10.1.2.3", 8443)},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id:       "4830913427532840817",
			Method:   "GET",
			Path:     "/v1/orders?from=2026-11-01&limit=100",
			Host:     "api.example.com",
			Scheme:   "https",
			Protocol: "HTTP/2",
			Headers: map[string]string{
				":authority": "api.example.com", ":method": "GET", ":path": "/v1/orders?from=2026-11-01&limit=100", ":scheme": "https",
				"accept": "application/json", "accept-encoding": "gzip, deflate, br", "user-agent": "orders-sync/2.14.0 (linux; amd64)",
				"x-api-key": key, "x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https", "x-request-id": "0b0c4f2e-6b1c-4b7e-9d53-5f1f5f2a7c11",
				"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
			},
		}},
	}}
}

func address(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// quantile returns a quantile of a sorted list.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
