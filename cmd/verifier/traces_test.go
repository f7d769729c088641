// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/go-logr/logr"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent  = "00-" + traceID + "-00f067aa0ba902b7-01"
)

func TestTraces_HTTP(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		target, span string
		status       int
	}{
		"a request of a gateway": {"/authz/" + secret + "?api_key=" + secret, "/authz", http.StatusForbidden},
		"an application's":       {"/v1/verify?" + secret, "/v1/verify", http.StatusForbidden},
		"an unknown path":        {"/" + secret, "other", http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spans := tracetest.NewSpanRecorder()
			var o server.Options
			addTraces(&o, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
			handler := o.WrapHTTP(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tc.status) }))
			r := httptest.NewRequestWithContext(t.Context(), secret, tc.target, strings.NewReader(secret))
			r.Header = http.Header{
				"Traceparent": {parent}, "X-Api-Key": {secret}, "User-Agent": {secret}, "X-Forwarded-For": {secret},
				"Baggage": {"key=" + secret}, "Tracestate": {"key=" + secret},
			}
			r.Host = secret
			handler.ServeHTTP(httptest.NewRecorder(), r)
			checkSpan(t, spans, tc.span)
			if got := fmt.Sprint(spans.Ended()[0].Attributes()); !strings.Contains(got, "403") {
				t.Errorf("the span's attributes are %s", got)
			}
		})
	}
}

func TestTraces_GRPC(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	o := server.Options{GRPCAddress: "127.0.0.1:0", HTTPAddress: "0", ProbeAddress: "0", ShutdownTimeout: timeout}
	addTraces(&o, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
	authorizer, err := newAuthorizer(options{sources: verifier.DefaultSources}, verifier.NewClusters(verifier.NewIndex()), nil, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	authorizer.Observers, authorizer.Audit = nil, nil
	srv, err := server.New(t.Context(), authorizer, o)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Run(t.Context()) //nolint:errcheck // it ends with the test
	connection, err := grpc.NewClient(srv.Address("grpc-bind-address").String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUserAgent(secret))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", parent, "tracestate", "key="+secret, "x-api-key", secret)
	asked := &authv3.AttributeContext_HttpRequest{
		Method: secret, Host: secret, Path: "/" + secret + "?" + secret,
		Headers: map[string]string{"x-api-key": secret},
	}
	request := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: asked}}}
	if _, err := authv3.NewAuthorizationClient(connection).Check(ctx, request); err != nil {
		t.Fatal(err)
	}
	if err := connection.Invoke(ctx, "/"+secret+"/"+secret, request, request); err == nil {
		t.Error("an unknown method returned no error")
	}
	eventuallyOne(t, spans)
	checkSpan(t, spans, "envoy.service.auth.v3.Authorization/Check")
}

// checkSpan checks that there is one span with a name in the trace of its parent, without attributes of the request.
func checkSpan(t *testing.T, spans *tracetest.SpanRecorder, name string) {
	t.Helper()
	list := spans.Ended()
	if len(list) != 1 || list[0].Name() != name || list[0].SpanContext().TraceID().String() != traceID {
		t.Fatalf("the spans are %+v, want one named %s", tracetest.SpanStubsFromReadOnlySpans(list), name)
	}
	if text := fmt.Sprintf("%+v", tracetest.SpanStubsFromReadOnlySpans(list)); strings.Contains(text, secret) {
		t.Errorf("the span contains the key: %s", text)
	}
	for _, a := range list[0].Attributes() {
		if !slices.Contains(allowedAttributes, string(a.Key)) {
			t.Errorf("the span has the attribute %s", a.Key)
		}
	}
}

// allowedAttributes lists the attributes that spans may have. Clients control none of them.
var allowedAttributes = []string{
	"http.response.status_code", "rpc.system", "rpc.system.name", "rpc.service", "rpc.method", "rpc.grpc.status_code",
	"rpc.response.status_code",
	"network.peer.address", "network.peer.port", "server.address", "server.port", "client.address", "client.port",
}

func eventuallyOne(t *testing.T, spans *tracetest.SpanRecorder) {
	t.Helper()
	for end := time.Now().Add(timeout); len(spans.Ended()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("there is no span")
		}
	}
}
