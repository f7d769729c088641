// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package ratelimit runs Envoy, the rate limit service of the Envoy project and Redis with the sample
// config/samples/gateways/envoy-ratelimit, for tests and the demo.
package ratelimit

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// Options configures Start.
type Options struct {
	// Root is the folder of the repository, and Dir that of the configuration and the logs.
	Root, Dir string
	// Verifier and Application are the addresses of the gRPC server of the verifier and of the application.
	Verifier, Application string
	// Changes are pairs of a text in the sample and its replacement.
	Changes []string
}

// Gateway is an Envoy that asks a verifier and a rate limit service.
type Gateway struct {
	// URL is the address of Envoy.
	URL string
	// Envoy, Service and Redis are its processes.
	Envoy, Service, Redis *controlplane.Process
}

const (
	stopGracePeriod = 20 * time.Second
	startTimeout    = time.Minute
)

// Missing returns the programs that are not in bin/gateways, or nil if there are all.
func Missing(root string) (missing []string) {
	for _, name := range []string{"envoy", "ratelimit", "redis-server"} {
		if _, err := os.Stat(program(root, name)); err != nil {
			missing = append(missing, name)
		}
	}
	return missing
}

func program(root, name string) string { return filepath.Join(root, "bin", "gateways", name) }

// Start starts the gateway, and waits until all of it answers. The caller must stop what it returns, also after an error.
func Start(ctx context.Context, o Options) (*Gateway, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	g, a := &Gateway{}, addresses{}
	if err := a.choose(); err != nil {
		return g, err
	}
	g.URL = "http://" + a.envoy
	if err := a.configure(o); err != nil {
		return g, err
	}
	return g, errors.Join(g.startRedis(ctx, o, a), g.startService(ctx, o, a), g.startEnvoy(ctx, o, a))
}

// Processes returns the processes that have been started.
func (g *Gateway) Processes() []*controlplane.Process {
	return slices.DeleteFunc([]*controlplane.Process{g.Envoy, g.Service, g.Redis}, func(p *controlplane.Process) bool { return p == nil })
}

// Stop stops all processes.
func (g *Gateway) Stop() error {
	var problems []error
	for _, p := range g.Processes() {
		problems = append(problems, p.Stop(stopGracePeriod))
	}
	return errors.Join(problems...)
}

// addresses holds where the processes listen.
type addresses struct{ envoy, service, health, debug, redis string }

func (a *addresses) choose() error {
	for _, address := range []*string{&a.envoy, &a.service, &a.health, &a.debug, &a.redis} {
		port, err := controlplane.FreePort()
		if err != nil {
			return err
		}
		*address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	return nil
}

// configure writes the sample with the addresses of this machine, longer timeouts and the changes of the caller.
func (a *addresses) configure(o Options) error {
	render := strings.NewReplacer(append(o.Changes,
		inSample("0.0.0.0:8000"), inSample(a.envoy),
		inSample("apikey-verifier-headless.apikey-manager-system.svc:9001"), inSample(o.Verifier),
		inSample("127.0.0.1:8081"), inSample(a.service),
		inSample("127.0.0.1:8090"), inSample(o.Application),
		// The timeouts in the sample may be too short for a busy machine, and without the rate limit service requests pass.
		"timeout: 0.5s", "timeout: 10s", "timeout: 0.25s", "timeout: 10s", "connect_timeout: 0.2s", "connect_timeout: 10s",
	)...)
	sample := filepath.Join(o.Root, "config", "samples", "gateways", "envoy-ratelimit")
	limits := filepath.Join(o.Dir, "apikeys", "config") // where the rate limit service reads its limits
	if err := os.MkdirAll(limits, 0o700); err != nil {
		return err
	}
	for from, to := range map[string]string{"envoy.yaml": o.Dir, "ratelimit.yaml": limits} {
		text, err := os.ReadFile(filepath.Join(sample, from))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, from), []byte(render.Replace(string(text))), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// inSample returns an address as the sample has it.
func inSample(address string) string {
	host, port, _ := net.SplitHostPort(address)
	return "{address: " + host + ", port_value: " + port + "}"
}

func (g *Gateway) startRedis(ctx context.Context, o Options, a addresses) (err error) {
	host, port, _ := net.SplitHostPort(a.redis)
	g.Redis, err = controlplane.StartProcess(filepath.Join(o.Dir, "redis.log"), program(o.Root, "redis-server"),
		"--bind", host, "--port", port, "--dir", o.Dir, "--save", "", "--appendonly", "no")
	if err != nil {
		return err
	}
	return g.Redis.Await(ctx, func() error {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", a.redis)
		if err != nil {
			return err
		}
		return connection.Close()
	})
}

// startService runs the rate limit service in the environment of the sample, except for addresses and the folder.
func (g *Gateway) startService(ctx context.Context, o Options, a addresses) error {
	text, err := os.ReadFile(filepath.Join(o.Root, "config", "samples", "gateways", "envoy-ratelimit", "ratelimit.env"))
	if err != nil {
		return err
	}
	var environment []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			environment = append(environment, line)
		}
	}
	for name, address := range map[string]string{"": a.health, "GRPC_": a.service, "DEBUG_": a.debug} {
		host, port, _ := net.SplitHostPort(address)
		environment = append(environment, name+"HOST="+host, name+"PORT="+port)
	}
	environment = append(environment, "RUNTIME_ROOT="+o.Dir, "RUNTIME_WATCH_ROOT=false", "REDIS_URL="+a.redis)
	environment = append(environment, program(o.Root, "ratelimit"))
	g.Service, err = controlplane.StartProcess(filepath.Join(o.Dir, "ratelimit.log"), "env", environment...)
	if err != nil {
		return err
	}
	return g.Service.Await(ctx, func() error { return controlplane.ExpectStatus(ctx, "http://"+a.health+"/healthcheck", http.StatusOK) })
}

func (g *Gateway) startEnvoy(ctx context.Context, o Options, a addresses) (err error) {
	g.Envoy, err = controlplane.StartProcess(filepath.Join(o.Dir, "envoy.log"), program(o.Root, "envoy"),
		"-c", filepath.Join(o.Dir, "envoy.yaml"), "--concurrency", "2", "--disable-hot-restart", "--log-level", "warning")
	if err != nil {
		return err
	}
	return g.Envoy.Await(ctx, func() error { return controlplane.ExpectStatus(ctx, "http://"+a.envoy, http.StatusUnauthorized) })
}
