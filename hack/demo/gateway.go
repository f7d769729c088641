// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/ratelimit"
)

// gateway is a Caddy process with the configuration of config/samples/gateways, in front of an application.
type gateway struct {
	address     string
	verifier    string // the address of the verifier
	process     *controlplane.Process
	application *http.Server

	// verifierGRPC and applicationAddress are the addresses of the verifier's gRPC server and of the application.
	verifierGRPC, applicationAddress string
	// limited is an Envoy with a rate limit service, or nil if a program for it is missing.
	limited *ratelimit.Gateway
}

// openGateway starts a verifier, an application, and Caddy in front of both.
func (env *environment) openGateway(ctx context.Context) error {
	if _, err := exec.LookPath("curl"); err != nil {
		return errors.New("the demo needs curl: install it and try again")
	}
	binary, err := controlplane.BuildVerifier(ctx)
	if err != nil {
		return err
	}
	verifier, err := env.plane.StartVerifier(ctx, controlplane.VerifierOptions{Binary: binary})
	if err != nil {
		return err
	}
	env.gateway.verifier, env.gateway.verifierGRPC = verifier.HTTP, verifier.GRPC
	application, err := env.startApplication()
	if err != nil {
		return err
	}
	env.gateway.applicationAddress = application
	if env.gateway.address, err = freeAddress(); err != nil {
		return err
	}
	// Use the sample with the addresses of this machine.
	return env.startCaddy(
		ctx,
		strings.NewReplacer("127.0.0.1:8080", verifier.HTTP, "127.0.0.1:8090", application, "http://:8000", "http://"+env.gateway.address),
	)
}

func (env *environment) startCaddy(ctx context.Context, local *strings.Replacer) error {
	sample, err := os.ReadFile(filepath.Join(env.plane.Root(), "config", "samples", "gateways", "caddy", "Caddyfile"))
	if err != nil {
		return err
	}
	file := filepath.Join(env.plane.Dir(), "Caddyfile")
	// Disable the admin endpoint and the saved configuration, which could disturb another Caddy on this machine.
	text := strings.Replace(local.Replace(string(sample)), "{\n", "{\n\tadmin off\n\tpersist_config off\n", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	caddy := filepath.Join(env.plane.Root(), "bin", "gateways", "caddy")
	env.gateway.process, err = controlplane.StartProcess(
		filepath.Join(env.plane.Dir(), "caddy.log"),
		caddy,
		"run",
		"--config",
		file,
		"--adapter",
		"caddyfile",
	)
	if err != nil {
		return err
	}
	return env.gateway.await(ctx)
}

// startApplication starts the application behind the gateway. It answers with the account and key ID that the gateway passes
// in headers.
func (env *environment) startApplication() (address string, err error) {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	env.gateway.application = &http.Server{
		ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodOptions { // it allows requests from pages of any origin
				out.Header().Set("Access-Control-Allow-Origin", "*")
				out.Header().Set("Access-Control-Allow-Headers", "X-API-Key")
				out.WriteHeader(http.StatusNoContent)
				return
			}
			_, _ = fmt.Fprintf(
				out,
				"Welcome, %s: your request was sent with key ID %s. The application did not receive the key itself.\n",
				r.Header.Get("X-Apikey-Account"),
				r.Header.Get("X-Apikey-Id"),
			)
		}),
	}
	go func() { _ = env.gateway.application.Serve(listener) }() // Serve returns when stop closes the server
	return listener.Addr().String(), nil
}

// await waits until the gateway accepts connections.
func (g *gateway) await(ctx context.Context) error {
	var dialer net.Dialer
	for {
		connection, err := dialer.DialContext(ctx, "tcp", g.address)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-g.process.Done():
			return g.process.Err()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(retryInterval):
		}
	}
}

func (g *gateway) stop() error {
	var problems []error
	if g.limited != nil {
		problems = append(problems, g.limited.Stop())
	}
	if g.process != nil {
		problems = append(problems, g.process.Stop(commandTimeout))
	}
	if g.application != nil {
		problems = append(problems, g.application.Close())
	}
	return errors.Join(problems...)
}

func freeAddress() (string, error) {
	port, err := controlplane.FreePort()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}

func (env *environment) prepareGateway(ctx context.Context, out io.Writer) error {
	err := timed(out, "Starting a verifier, an application, and a gateway in front of it", func() error { return env.openGateway(ctx) })
	if err != nil {
		return err
	}
	return env.openLimitedGateway(ctx, out)
}
