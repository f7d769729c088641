// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"context"
	"fmt"
	"io"
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

// BenchmarkForwardAuth compares forward auth with a server that allows all requests, over connections of this machine. The CPU
// time includes that of the client, which is the same for both.
func BenchmarkForwardAuth(b *testing.B) {
	always := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	defer always.Close()
	options := server.AuthorizerOptions{Clock: clock.RealClock{}}
	verdicts := serve(b, setup{options: options}, server.Options{})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4 * runtime.GOMAXPROCS(0)}}
	defer client.CloseIdleConnections()
	for name, address := range map[string]string{"always": strings.TrimPrefix(always.URL, "http://"), "verifier": verdicts.http} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			before := processorTime(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := askForwardAuth(b.Context(), client, address); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

func askForwardAuth(ctx context.Context, client *http.Client, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/authz?scopes=orders:read", http.NoBody)
	if err != nil {
		return err
	}
	request.Header = header("X-Api-Key", goodKey, "X-Forwarded-For", "192.0.2.7", "X-Forwarded-Method", "GET", "X-Forwarded-Host", "api.example.com",
		"X-Forwarded-Uri", "/orders?page=2", "User-Agent", "bench", "Accept", "*/*", "X-Request-Id", "6f1c")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("got status %d", response.StatusCode)
	}
	return nil
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
