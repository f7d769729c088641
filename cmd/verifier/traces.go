// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// newTraces returns a provider that exports spans as the environment configures (OTEL_EXPORTER_OTLP_...,
// OTEL_TRACES_SAMPLER). The caller must shut it down.
func newTraces(ctx context.Context) (*sdktrace.TracerProvider, error) {
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("create the trace exporter: %w", err)
	}
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter)), nil
}

// shutDownTraces exports the remaining spans. Spans that cannot be exported within the timeout are lost.
func shutDownTraces(ctx context.Context, provider *sdktrace.TracerProvider) {
	const timeout = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_ = provider.Shutdown(ctx)
}

// parentPropagator extracts the trace that a request belongs to.
var parentPropagator = parentOnly{}

// parentOnly extracts traceparent, which holds only IDs and flags. It ignores tracestate, whose free text would be
// exported with each span.
type parentOnly struct{ propagation.TraceContext }

// Extract implements propagation.TextMapPropagator.
func (p parentOnly) Extract(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	parent := trace.SpanContextFromContext(p.TraceContext.Extract(ctx, carrier))
	if !parent.IsValid() {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, parent.WithTraceState(trace.TraceState{}))
}

// addTraces creates a span for each request.
func addTraces(o *server.Options, provider trace.TracerProvider) {
	o.GRPC = append(o.GRPC, grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(provider), otelgrpc.WithPropagators(parentPropagator),
		// Spans are named after methods, and a client may send any method name.
		otelgrpc.WithFilter(func(i *stats.RPCTagInfo) bool { return i.FullMethodName == authv3.Authorization_Check_FullMethodName }),
	)))
	tracer := provider.Tracer("github.com/apikey-manager/apikey-manager/cmd/verifier")
	o.WrapHTTP = func(next http.Handler) http.Handler { return withSpans(tracer, next) }
}

// withSpans creates spans like otelhttp, but without attributes that clients control, such as the URL and headers.
func withSpans(tracer trace.Tracer, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := parentPropagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := tracer.Start(ctx, server.Route(r.URL.Path), trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		recorder := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(recorder, r.WithContext(ctx))
		span.SetAttributes(attribute.Int("http.response.status_code", recorder.status))
	})
}

// statusWriter records the status of a response.
type statusWriter struct {
	http.ResponseWriter

	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
