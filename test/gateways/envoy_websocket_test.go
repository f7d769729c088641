// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// newEchoServer starts an application that accepts websockets and sends back the bytes that it receives. It counts the requests.
func newEchoServer(t *testing.T, requests *atomic.Int32, header *atomic.Pointer[http.Header]) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		header.Store(&r.Header)
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusSwitchingProtocols)
		connection, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = connection.Close() }()
		_, _ = io.Copy(connection, buffered)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// TestEnvoy_ChecksKeyOfWebsocket opens websockets. Without a valid key, neither the request nor what follows it may reach the
// application.
func TestEnvoy_ChecksKeyOfWebsocket(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	var requests atomic.Int32
	var header atomic.Pointer[http.Header]
	f := w.serveEnvoy(t, nil, socketAddress("127.0.0.1:8090"), socketAddress(newEchoServer(t, &requests, &header)))
	requests.Store(0)
	open := func(t *testing.T, path, key string) (*bufio.ReadWriter, *http.Response) {
		t.Helper()
		connection := f.connect(t)
		_, _ = fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-API-Key: %s\r\n"+
			"X-Apikey-Id: forged\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearly", path, key)
		stream := bufio.NewReadWriter(bufio.NewReader(connection), bufio.NewWriter(connection))
		response, err := http.ReadResponse(stream.Reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		return stream, response
	}
	for about, c := range map[string]struct {
		path, key string
		status    int
	}{
		"no key":        {"/stock", "", http.StatusUnauthorized},
		"a revoked key": {"/stock", w.keys["revoked"].material, http.StatusUnauthorized},
		"no scope":      {"/orders", w.keys["plain"].material, http.StatusForbidden},
	} {
		_, response := open(t, c.path, c.key)
		_ = response.Body.Close()
		if response.StatusCode != c.status || requests.Load() != 0 {
			t.Errorf("%s: it was answered %d and reached the application %d times", about, response.StatusCode, requests.Load())
		}
	}
	stream, response := open(t, "/stock", w.keys["plain"].material)
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("it was answered %d", response.StatusCode)
	}
	_, _ = stream.WriteString(" and late")
	_ = stream.Flush()
	echo := make([]byte, len("early and late"))
	if _, err := io.ReadFull(stream, echo); err != nil || string(echo) != "early and late" {
		t.Errorf("the application sends back %q: %v", echo, err)
	}
	received := receivedRequest{header: *header.Load()}
	if got := received.identityHeaders()["x-apikey-id"]; got != w.keys["plain"].id || len(received.placesOfKey(w.keys["plain"].material)) != 0 {
		t.Errorf("the application sees key ID %s and %v", got, strings.Join(received.placesOfKey(w.keys["plain"].material), ", "))
	}
}
