// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
)

// VerifierOptions configure a verifier process.
type VerifierOptions struct {
	// Binary is the path of the verifier, as returned by BuildVerifier.
	Binary string
	// Log is the file to which the output is appended. It defaults to verifier.log in Dir.
	Log string
	// Flags are further flags. They take precedence over the default ones. With --kubeconfig, which can be repeated, the
	// verifier follows those clusters only.
	Flags []string
	// Environment holds further environment variables, NAME=value. They take precedence over those of the cluster.
	Environment []string
	// Unready makes StartVerifier wait until the verifier is alive instead of ready.
	Unready bool
}

// Verifier is a running verifier process.
type Verifier struct {
	*Process

	// GRPC, HTTP, Usage, Metrics and Probes are the addresses, host:port, of its servers.
	GRPC, HTTP, Usage, Metrics, Probes string
}

// BuildVerifier builds cmd/verifier into bin/verifier, as `make build` does, and returns its path. The flags are further flags of
// `go build`.
func BuildVerifier(ctx context.Context, flags ...string) (string, error) {
	return build(ctx, "verifier", flags...)
}

// StartVerifier starts a verifier outside the cluster with the permissions and the environment variables that it has on a
// cluster, on ports of 127.0.0.1, and waits until it is ready. ControlPlane.Stop stops it.
func (c *ControlPlane) StartVerifier(ctx context.Context, options VerifierOptions) (*Verifier, error) {
	v := &Verifier{}
	for _, address := range []*string{&v.GRPC, &v.HTTP, &v.Usage, &v.Metrics, &v.Probes} {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		*address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	if options.Log == "" {
		options.Log = c.logOf("verifier")
	}
	flags := append([]string{
		"--grpc-bind-address=" + v.GRPC, "--http-bind-address=" + v.HTTP, "--usage-bind-address=" + v.Usage,
		"--metrics-bind-address=" + v.Metrics, "--health-probe-bind-address=" + v.Probes, "--drain-delay=0s",
	}, options.Flags...)
	if !slices.ContainsFunc(options.Flags, func(flag string) bool { return strings.HasPrefix(flag, "--kubeconfig=") }) {
		flags = append(flags, "--kubeconfig="+c.VerifierKubeconfig())
	}
	environment := append(environmentOf(&c.manifests.verifier), options.Environment...)
	var err error
	if v.Process, err = c.launch(environment, options.Log, options.Binary, flags...); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startStopTimeout)
	defer cancel()
	if options.Unready {
		return v, v.awaitOK(ctx, "http://"+v.Probes+"/healthz")
	}
	return v, v.AwaitReady(ctx)
}

// AwaitReady waits until the verifier is ready.
func (v *Verifier) AwaitReady(ctx context.Context) error {
	return v.awaitOK(ctx, "http://"+v.Probes+"/readyz")
}
