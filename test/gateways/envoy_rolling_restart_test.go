// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// nameServer answers DNS queries for any name with the same addresses, as the cluster's DNS does for a headless Service.
type nameServer struct {
	connection net.PacketConn
	addresses  atomic.Pointer[[]netip.Addr]
}

func startNameServer(t *testing.T) *nameServer {
	t.Helper()
	connection, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	controlplanetest.Must(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	s := &nameServer{connection: connection}
	go s.run()
	return s
}

func (s *nameServer) run() {
	buffer := make([]byte, 512)
	for {
		n, client, err := s.connection.ReadFrom(buffer)
		if err != nil {
			return // it was closed
		}
		var query dnsmessage.Message
		if query.Unpack(buffer[:n]) != nil || len(query.Questions) != 1 {
			continue
		}
		if response, err := s.answer(query); err == nil {
			_, _ = s.connection.WriteTo(response, client)
		}
	}
}

func (s *nameServer) answer(query dnsmessage.Message) ([]byte, error) {
	response := dnsmessage.Message{Header: dnsmessage.Header{ID: query.ID, Response: true, Authoritative: true}, Questions: query.Questions}
	if question := query.Questions[0]; question.Type == dnsmessage.TypeA {
		for _, address := range *s.addresses.Load() {
			response.Answers = append(response.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: address.As4()},
			})
		}
	}
	return response.Pack()
}

// resolver is a change of the sample: Envoy asks this name server for the addresses of the verifier, which has another port.
func (s *nameServer) resolver(port string) []string {
	host, _, _ := net.SplitHostPort(envoyVerifier)
	const dnsRate = "          dns_refresh_rate: 1s\n"
	return []string{socketAddress(envoyVerifier), socketAddress(net.JoinHostPort(host, port)), dnsRate, dnsRate + `
          typed_dns_resolver_config:
            name: envoy.network.dns_resolver.cares
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
              resolvers: [{` + socketAddress(s.connection.LocalAddr().String()) + `}]
              dns_resolver_options: {no_default_search_domain: true}
`}
}

// TestEnvoy_RollingRestart replaces the verifiers one after the other under load, as a Deployment does. The sample finds them by
// the name of the headless Service. Each request gets its verdict.
func TestEnvoy_RollingRestart(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: a rolling restart was not tested: only Linux has all of 127.0.0.0/8")
	}
	w := shared.Get(t)
	_, port, _ := net.SplitHostPort(freeAddress(t))
	start := func(host string) *controlplane.Verifier {
		// These flags override that the verifiers of tests do not wait before they shut down.
		return w.startVerifier(t, "--grpc-bind-address="+net.JoinHostPort(host, port), "--drain-delay=5s")
	}
	running := map[string]*controlplane.Verifier{"127.0.0.11": start("127.0.0.11"), "127.0.0.12": start("127.0.0.12")}
	names := startNameServer(t)
	publish := func(hosts ...string) {
		var addresses []netip.Addr
		for _, host := range hosts {
			addresses = append(addresses, netip.MustParseAddr(host))
		}
		names.addresses.Store(&addresses)
	}
	publish("127.0.0.11", "127.0.0.12")
	f := w.serve(t, gatewayNamed("envoy"), "", names.resolver(port)...)
	finish := w.startLoad(t, f)
	running["127.0.0.13"] = start("127.0.0.13")
	publish("127.0.0.12", "127.0.0.13")
	controlplanetest.Must(t, running["127.0.0.11"].Stop(controlplanetest.Timeout))
	running["127.0.0.14"] = start("127.0.0.14")
	publish("127.0.0.13", "127.0.0.14")
	controlplanetest.Must(t, running["127.0.0.12"].Stop(controlplanetest.Timeout))
	served := finish()
	t.Logf("%d requests", served)
	if served < 100 {
		t.Errorf("only %d requests were sent", served)
	}
}

// startLoad sends requests until the returned function is called, which returns their number. It fails the test at any wrong
// response.
func (w *suite) startLoad(t *testing.T, f *runningGateway) (finish func() int32) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var sent atomic.Int32
	var clients sync.WaitGroup
	for key, want := range map[string]int{"full": http.StatusOK, "revoked": http.StatusUnauthorized, "plain": http.StatusOK, "expired": http.StatusUnauthorized} {
		clients.Go(func() {
			for ctx.Err() == nil {
				if got, err := statusOf(t.Context(), f.url+"/stock?n="+strconv.Itoa(int(sent.Add(1))), w.keys[key].material); err != nil || got != want {
					t.Errorf("key %s was answered %d, want %d: %v", key, got, want, err)
				}
			}
		})
	}
	finish = func() int32 {
		cancel()
		clients.Wait()
		return sent.Load()
	}
	t.Cleanup(func() { finish() })
	return finish
}

func statusOf(ctx context.Context, url, key string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	request.Header.Set("X-API-Key", key)
	response, err := (&http.Client{Timeout: controlplanetest.Timeout}).Do(request)
	if err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	return response.StatusCode, response.Body.Close()
}
