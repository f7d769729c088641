// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package faces_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/internal/verifier/faces"
)

// served is where the faces of a test are.
type served struct {
	grpc, http, probe string
	// stop tells the server to end, and done says that it has.
	stop context.CancelFunc
	done chan error
}

// serve serves a door on sockets of this machine until the test ends.
func serve(t testing.TB, s setup, o faces.ServerOptions) *served {
	t.Helper()
	return serveDoor(t, s.door(t), o)
}

func serveDoor(t testing.TB, door *faces.Authorizer, o faces.ServerOptions) *served {
	t.Helper()
	const local = "127.0.0.1:0"
	o.GRPCAddress, o.HTTPAddress, o.ProbeAddress, o.UsageAddress = local, local, local, "0"
	if o.ShutdownTimeout == 0 {
		o.ShutdownTimeout = time.Minute
	}
	server, err := faces.NewServer(t.Context(), door, o)
	if err != nil {
		t.Fatal(err)
	}
	at := &served{done: make(chan error, 1)}
	at.grpc, at.http, at.probe = server.Address("grpc-bind-address").String(), server.Address("http-bind-address").String(), server.Address("health-probe-bind-address").String()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	at.stop = stop
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		at.done <- server.Run(ctx)
	}()
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		stop()
		<-ended
	})
	return at
}
