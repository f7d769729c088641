// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// BenchmarkForwardAuth compares forward auth with a server that allows all requests, and with one that also returns the headers of the
// verifier, over connections of this machine. The CPU time includes that of the client, which reads these headers.
func BenchmarkForwardAuth(b *testing.B) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4 * runtime.GOMAXPROCS(0)}}
	defer client.CloseIdleConnections()
	verdicts := serve(b, setup{options: server.AuthorizerOptions{Clock: clock.RealClock{}}}, server.Options{})
	headers, err := askForwardAuth(b.Context(), client, verdicts.http)
	if err != nil {
		b.Fatal(err)
	}
	for _, tt := range []struct{ name, address string }{
		{"always", serveAllowAll(b, nil)}, {"always with headers", serveAllowAll(b, headers)}, {"verifier", verdicts.http},
	} {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			before := processorTime(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := askForwardAuth(b.Context(), client, tt.address); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// serveAllowAll returns the address of a server that allows all requests with the same headers.
func serveAllowAll(b *testing.B, headers http.Header) string {
	b.Helper()
	delete(headers, "Date") // the server adds it
	delete(headers, "Content-Length")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), headers)
		w.WriteHeader(http.StatusOK)
	}))
	b.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func askForwardAuth(ctx context.Context, client *http.Client, address string) (http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/authz?scopes=orders:read", http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header = header("X-Api-Key", goodKey, "X-Forwarded-For", "192.0.2.7", "X-Forwarded-Method", "GET", "X-Forwarded-Host", "api.example.com",
		"X-Forwarded-Uri", "/orders?page=2", "User-Agent", "bench", "Accept", "*/*", "X-Request-Id", "6f1c")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("got status %d", response.StatusCode)
	}
	return response.Header, nil
}

// processorTime returns the processor time that this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
