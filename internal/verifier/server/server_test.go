// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// timeout limits how long a test waits for a condition.
const timeout = 30 * time.Second

// eventually waits until condition returns true.
func eventually(t *testing.T, message string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(timeout); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(message)
		}
	}
}

func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := connection.Close(); err != nil {
			t.Error(err)
		}
	})
	return connection
}

const authService = "envoy.service.auth.v3.Authorization"

// healthOf returns the gRPC health status of a service.
func healthOf(t *testing.T, connection *grpc.ClientConn, service string) healthv1.HealthCheckResponse_ServingStatus {
	t.Helper()
	answer, err := healthv1.NewHealthClient(connection).Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetStatus()
}

// probe returns the HTTP status of a probe.
func probe(t *testing.T, at *endpoints, path string) int {
	t.Helper()
	return send(t, at.probe, http.MethodGet, path, nil, "").status
}

func TestServer_IsReadyWhenSynced(t *testing.T) {
	t.Parallel()
	index := newIndex()
	at := serve(t, setup{index: index, unsynced: true}, server.Options{})
	connection := dial(t, at.grpc)
	for _, service := range []string{"", authService} {
		if got := healthOf(t, connection, service); got != healthv1.HealthCheckResponse_NOT_SERVING {
			t.Errorf("before the index is complete, service %q is %s", service, got)
		}
	}
	if got := probe(t, at, "/healthz"); got != http.StatusOK {
		t.Errorf("before the index is complete, /healthz is %d", got)
	}
	if got := probe(t, at, "/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("before the index is complete, /readyz is %d", got)
	}
	index.SetComplete()
	for _, service := range []string{"", authService} {
		eventually(t, "health does not report SERVING for "+service, func() bool {
			return healthOf(t, connection, service) == healthv1.HealthCheckResponse_SERVING
		})
	}
	if got := probe(t, at, "/readyz"); got != http.StatusOK {
		t.Errorf("after the index is complete, /readyz is %d", got)
	}
	index.SetIncomplete() // like --max-staleness does
	for _, service := range []string{"", authService} {
		eventually(t, "health does not report NOT_SERVING for "+service, func() bool {
			return healthOf(t, connection, service) == healthv1.HealthCheckResponse_NOT_SERVING
		})
	}
	if got := probe(t, at, "/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("after the index became incomplete, /readyz is %d", got)
	}
}

func TestServer_LimitsConnections(t *testing.T) {
	t.Parallel()
	at := serve(t, setup{}, server.Options{MaxConnections: 2})
	var idle []net.Conn
	for range 2 {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", at.grpc)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	connection := dial(t, at.grpc)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := healthv1.NewHealthClient(connection).Check(ctx, &healthv1.HealthCheckRequest{}); err == nil {
		t.Error("a third connection is served")
	}
	for _, c := range idle {
		_ = c.Close()
	}
	eventually(t, "a connection is not served when others have ended", func() bool {
		_, err := healthv1.NewHealthClient(connection).Check(t.Context(), &healthv1.HealthCheckRequest{}, grpc.WaitForReady(true))
		return err == nil
	})
}

func TestServer_LimitsMessages(t *testing.T) {
	t.Parallel()
	connection := dial(t, serve(t, setup{}, server.Options{}).grpc)
	request := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{ContextExtensions: map[string]string{
		"scopes": strings.Repeat("a", 256<<10),
	}}}
	_, err := authv3.NewAuthorizationClient(connection).Check(t.Context(), request)
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message of more than 256 KiB: got %v, want %s", err, codes.ResourceExhausted)
	}
}

func TestServer_ClosesIdleConnections(t *testing.T) {
	t.Parallel()
	connection := dial(t, serve(t, setup{}, server.Options{IdleTimeout: 50 * time.Millisecond}).grpc)
	healthOf(t, connection, "")
	eventually(t, "an idle connection is kept", func() bool { return connection.GetState() == connectivity.Idle })
}

func TestServer_ReflectionIsOffByDefault(t *testing.T) {
	t.Parallel()
	stream, err := reflectionv1.NewServerReflectionClient(dial(t, serve(t, setup{}, server.Options{}).grpc)).ServerReflectionInfo(t.Context())
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
}

func TestServer_Reflection(t *testing.T) {
	t.Parallel()
	stream, err := reflectionv1.NewServerReflectionClient(dial(t,
		serve(t, setup{}, server.Options{Reflection: true}).grpc)).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list := &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}
	if err := stream.Send(list); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(answer.String(), authService) {
		t.Errorf("reflection does not list the service: %v", answer)
	}
}

func TestServer_DrainsBeforeExit(t *testing.T) {
	t.Parallel()
	at := serve(t, setup{}, server.Options{DrainDelay: 3 * time.Second})
	connection := dial(t, at.grpc)
	eventually(t, "the server is not healthy", func() bool { return healthOf(t, connection, "") == healthv1.HealthCheckResponse_SERVING })
	at.stop()
	eventually(t, "the server is not unready", func() bool { return probe(t, at, "/readyz") == http.StatusServiceUnavailable })
	eventually(t, "health does not report NOT_SERVING",
		func() bool { return healthOf(t, connection, authService) == healthv1.HealthCheckResponse_NOT_SERVING })
	if got := send(t, at.http, http.MethodGet, "/authz", header("X-Api-Key", goodKey), ""); got.status != http.StatusOK {
		t.Errorf("while the server drains, a valid key gets %+v", got)
	}
	checked, err := authv3.NewAuthorizationClient(connection).Check(t.Context(),
		envoyRequest("/", map[string]string{"x-api-key": goodKey}, nil))
	if err != nil || checked.GetOkResponse() == nil {
		t.Errorf("while the server drains, a valid key gets %v, %v", checked, err)
	}
	waitForEnd(t, at)
	if _, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", at.http); err == nil {
		t.Error("the server still listens after shutting down")
	}
}

// waitForEnd waits until the server has shut down without an error.
func waitForEnd(t *testing.T, at *endpoints) {
	t.Helper()
	select {
	case err := <-at.done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(timeout):
		t.Fatal("the server does not shut down")
	}
}

func TestServer_CompletesRequestsInFlight(t *testing.T) {
	t.Parallel()
	at := serve(t, setup{}, server.Options{})
	connection, half := sendHalf(t, at)
	at.stop()
	eventually(t, "the server still listens", func() bool {
		other, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", at.http)
		if err != nil {
			return true
		}
		other.Close()
		return false
	})
	if _, err := io.WriteString(connection, half); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(body), `"valid":true`) {
		t.Errorf("got %s %s, %v", answer.Status, body, err)
	}
	waitForEnd(t, at)
}

func TestServer_ShutdownIsBounded(t *testing.T) {
	t.Parallel()
	at := serve(t, setup{}, server.Options{ShutdownTimeout: 50 * time.Millisecond})
	sendHalf(t, at)
	watch, err := healthv1.NewHealthClient(dial(t, at.grpc)).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	at.stop()
	waitForEnd(t, at)
}

// sendHalf sends the first half of a request, and returns the second half.
func sendHalf(t *testing.T, at *endpoints) (net.Conn, string) {
	t.Helper()
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", at.http)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	body := `{"key":"` + goodKey + `"}`
	// The server handles the request once it asks for the rest.
	fmt.Fprintf(connection, "POST /v1/verify HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body))
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil || !strings.Contains(line, "100") {
		t.Fatalf("got %q, %v", line, err)
	}
	if _, err := io.WriteString(connection, body[:5]); err != nil {
		t.Fatal(err)
	}
	return connection, body[5:]
}

func TestServer_ReportsAddressInUse(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = server.New(t.Context(), setup{}.authorizer(t),
		server.Options{GRPCAddress: "127.0.0.1:0", HTTPAddress: taken.Addr().String(), ProbeAddress: "0"})
	if err == nil || !strings.Contains(err.Error(), "--http-bind-address: ") {
		t.Errorf("got %v", err)
	}
}

func TestServer_ExitsWhenAListenerFails(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	srv, err := server.New(ctx, setup{}.authorizer(t), server.Options{
		GRPCAddress: "127.0.0.1:0", HTTPAddress: "127.0.0.1:0", ProbeAddress: "0", DrainDelay: time.Hour, ShutdownTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.CloseListener("http-bind-address")
	if err := srv.Run(ctx); err == nil || !strings.Contains(err.Error(), "--http-bind-address: ") || ctx.Err() != nil {
		t.Errorf("got %v", err)
	}
}
