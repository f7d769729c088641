// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// lag is the delay of responses of the API server to a lagging verifier.
const lag = 300 * time.Millisecond

// laggingFlags returns the flags of a verifier that receives all responses of the API server late.
func (w *suite) laggingFlags(t *testing.T) []string {
	t.Helper()
	server, err := url.Parse(w.plane.Config().Host)
	controlplanetest.Must(t, err)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	controlplanetest.Must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go forward(client, server.Host)
		}
	}()
	config, err := os.ReadFile(w.plane.VerifierKubeconfig())
	controlplanetest.Must(t, err)
	file := filepath.Join(w.plane.Dir(), "verifier-that-lags.kubeconfig")
	controlplanetest.Must(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(config), server.Host, listener.Addr().String())), 0o600))
	return []string{"--kubeconfig=" + file}
}

// forward connects a client to a server, and delivers the responses late and in order.
func forward(client net.Conn, address string) {
	defer func() { _ = client.Close() }()
	server, err := new(net.Dialer).Dial("tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
	type chunk struct {
		data []byte
		due  time.Time
	}
	late := make(chan chunk, 1<<16)
	go func() {
		defer close(late)
		for {
			data := make([]byte, 32<<10)
			n, err := server.Read(data)
			if err != nil {
				return
			}
			late <- chunk{data[:n], time.Now().Add(lag)}
		}
	}()
	for c := range late {
		time.Sleep(time.Until(c.due))
		if _, err := client.Write(c.data); err != nil {
			return
		}
	}
}
