// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// endpoints holds the addresses of a running server.
type endpoints struct {
	grpc, http, probe string
	// stop shuts the server down. done receives the result of Run.
	stop context.CancelFunc
	done chan error
}

// serve runs a server on local sockets until the test ends.
func serve(t testing.TB, s setup, o server.Options) *endpoints {
	t.Helper()
	return serveAuthorizer(t, s.authorizer(t), o)
}

func serveAuthorizer(t testing.TB, authorizer *server.Authorizer, o server.Options) *endpoints {
	t.Helper()
	const local = "127.0.0.1:0"
	o.GRPCAddress, o.HTTPAddress, o.ProbeAddress, o.UsageAddress = local, local, local, "0"
	if o.ShutdownTimeout == 0 {
		o.ShutdownTimeout = time.Minute
	}
	srv, err := server.New(t.Context(), authorizer, o)
	if err != nil {
		t.Fatal(err)
	}
	at := &endpoints{done: make(chan error, 1)}
	at.grpc, at.http, at.probe = srv.Address("grpc-bind-address").String(), srv.Address("http-bind-address").String(),
		srv.Address("health-probe-bind-address").String()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	at.stop = stop
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		at.done <- srv.Run(ctx)
	}()
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		stop()
		<-ended
	})
	return at
}
