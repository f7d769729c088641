// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// envoyGateway runs Envoy Gateway as a process of this machine. It reads the sample from the real API server, and starts a real
// Envoy with the configuration that it translates the sample to. Only the addresses of the Services are not those of Pods.
var envoyGateway = gateway{
	name: "envoy-gateway", version: "version", args: []string{"server", "--config-path", "DIR/envoy-gateway.yaml"},
	otherFiles: map[string]string{"envoy-gateway.yaml": envoyGatewayConfig, "chroot": envoyGatewayChroot},
	prepare:    (*suite).prepareEnvoyGateway, grpc: true, verifierFlags: trustedAddresses(), unsyncedStatus: http.StatusServiceUnavailable,
}

// envoyGatewayConfig makes Envoy Gateway start Envoy itself, instead of creating a Deployment for it.
const envoyGatewayConfig = `apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
provider:
  type: Custom
  custom:
    resource:
      type: Kubernetes
      kubernetes: {leaderElection: {disable: true}}
    infrastructure:
      type: Host
      host: {configHome: DIR/config, dataHome: DIR/data, stateHome: DIR/state, runtimeDir: DIR/runtime}
admin: {address: {host: 127.0.0.1, port: 0}}
telemetry: {metrics: {prometheus: {disable: true}}}
`

// envoyGatewayClass is the class of the Gateway in the sample.
const envoyGatewayClass = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
`

const envoyGatewayService = `apiVersion: v1
kind: Service
metadata: {namespace: %s, name: %s}
spec: {ports: [{name: port, port: %d}]}
`

// envoyGatewayEndpoints is an endpoint of a Service on this machine. No EndpointSlice may contain a loopback address, but a name
// of it may.
const envoyGatewayEndpoints = `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: %[1]s, name: %[2]s-%[3]s, labels: {kubernetes.io/service-name: %[2]s}}
addressType: FQDN
ports: [{name: port, port: %[4]s, protocol: TCP}]
endpoints: [{addresses: [gateways.localhost], conditions: {ready: true}}]
`

// envoyGatewayChroot runs a program with a root directory that has all entries of the real one, and certificates at /certs,
// where Envoy Gateway reads them if it reads resources from an API server.
const envoyGatewayChroot = `
set -eu
root=$1 certs=$2
shift 2
mkdir "$root"
for entry in /*; do
  if [ -L "$entry" ]; then
    cp -P "$entry" "$root$entry"
  elif [ -d "$entry" ]; then
    mkdir "$root$entry"
    mount --rbind "$entry" "$root$entry"
  fi
done
mkdir "$root/certs"
mount --bind "$certs" "$root/certs"
exec chroot "$root" "$@"
`

// prepareEnvoyGateway applies the sample, writes what Envoy Gateway needs on this machine, and returns the command that starts it.
func (w *suite) prepareEnvoyGateway(t *testing.T, dir, program, verifier string, f *runningGateway) []string {
	t.Helper()
	w.requireEnvoyGateway(t, dir, program)
	w.applyEnvoyGatewayObjects(t, dir, verifier, f.application.address())
	return w.envoyGatewayCommand(t, dir, program)
}

// requireEnvoyGateway installs the CRDs of Envoy Gateway, and skips the test if it cannot run on this machine.
func (w *suite) requireEnvoyGateway(t *testing.T, dir, program string) {
	t.Helper()
	requireUserNamespaces(t, dir)
	reserveEnvoyGatewayPorts(t, program)
	w.requireEnvoyGatewayCRDs(t)
}

// envoyGatewayCommand writes what Envoy Gateway needs besides objects, and returns the command that starts it.
func (w *suite) envoyGatewayCommand(t *testing.T, dir, program string) []string {
	t.Helper()
	run(t, program, "certgen", "--local", "--config-home", filepath.Join(dir, "config"))
	provideEnvoy(t, w.plane.Root(), dir)
	return []string{
		"KUBECONFIG=" + w.plane.Kubeconfig(), "ENVOY_VERSION=" + envoyVersion, "unshare", "--map-root-user", "--mount",
		"sh", filepath.Join(dir, "chroot"), filepath.Join(dir, "root"), filepath.Join(dir, "config", "certs", "envoy-gateway"),
	}
}

// applyEnvoyGatewayObjects applies the sample and what it refers to.
func (w *suite) applyEnvoyGatewayObjects(t *testing.T, dir, verifier, application string) {
	t.Helper()
	w.apply(t, envoyGatewayClass)
	w.apply(t, fmt.Sprintf(envoyGatewayService, w.plane.Namespace(), "apikey-verifier", 9001))
	w.applyEndpoints(t, w.plane.Namespace(), "apikey-verifier", "first", verifier)
	w.apply(t, fmt.Sprintf(envoyGatewayService, "default", "application", 8090))
	w.applyEndpoints(t, "default", "application", "first", application)
	w.kubectl(t, "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", filepath.Join(dir, "apikeys.yaml"))
}

// applyEndpoints lets a slice of a Service consist of one address of this machine.
func (w *suite) applyEndpoints(t *testing.T, namespace, service, slice, address string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(address)
	w.apply(t, fmt.Sprintf(envoyGatewayEndpoints, namespace, service, slice, port))
}

func (w *suite) apply(t *testing.T, object string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "object.yaml")
	write(t, file, object)
	w.kubectl(t, "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", file)
}

// envoyVersion is the version by which Envoy Gateway finds Envoy, whatever version it is.
const envoyVersion = "1.40.0"

// provideEnvoy puts Envoy where Envoy Gateway stores the Envoy that it downloads.
func provideEnvoy(t *testing.T, root, dir string) {
	t.Helper()
	bin := filepath.Join(dir, "data", "envoy-versions", envoyVersion, "bin")
	controlplanetest.Must(t, os.MkdirAll(bin, 0o700))
	controlplanetest.Must(t, os.Symlink((&gateway{name: "envoy"}).binary(t, root), filepath.Join(bin, "envoy")))
}

// envoyGatewayPorts are ports on which Envoy Gateway and its Envoy listen, and which cannot be configured.
var envoyGatewayPorts = []string{"8080", "8081", "9443", "18000", "19003"}

// reserveEnvoyGatewayPorts waits until no other test runs this Envoy Gateway. It skips the test if another program listens on one
// of its ports.
func reserveEnvoyGatewayPorts(t *testing.T, program string) {
	t.Helper()
	lock, err := os.Open(program)
	controlplanetest.Must(t, err)
	t.Cleanup(func() { _ = lock.Close() }) // after the cleanup that stops it
	controlplanetest.Must(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	for _, port := range envoyGatewayPorts {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", ":"+port)
		if err != nil {
			t.Skipf("SKIPPED: Envoy Gateway was not tested: it needs port %s: %v", port, err)
		}
		_ = listener.Close()
	}
}

// requireUserNamespaces skips the test if this user may not mount directories in namespaces of its own.
func requireUserNamespaces(t *testing.T, dir string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "unshare", "--map-root-user", "--mount", "mount", "--bind", dir, dir).CombinedOutput()
	if err != nil {
		t.Skipf("SKIPPED: Envoy Gateway was not tested: it reads certificates at /certs, which unshare cannot provide: %v\n%s", err, out)
	}
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", filepath.Base(program), args, err, out)
	}
	return string(out)
}

func (w *suite) requireEnvoyGatewayCRDs(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(w.folderOfEnvoyGatewayCRDs()); err != nil {
		t.Skipf("SKIPPED: the sample of Envoy Gateway was not tested: %v. Run `make gateways`", err)
	}
	controlplanetest.Must(t, w.installEnvoyGatewayCRDs())
}

func (w *suite) folderOfEnvoyGatewayCRDs() string {
	return filepath.Join(w.plane.Root(), "bin", "gateways", "envoy-gateway-crds")
}

// createEnvoyGatewayCRDs creates the CRDs, which are large, and waits until they can be used.
func (w *suite) createEnvoyGatewayCRDs() error {
	options := envtest.CRDInstallOptions{Paths: []string{w.folderOfEnvoyGatewayCRDs()}, MaxTime: controlplanetest.Timeout}
	_, err := envtest.InstallCRDs(w.plane.Config(), options)
	return err
}

func (w *suite) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, w.plane.Kubectl(), append([]string{"--kubeconfig=" + w.plane.Kubeconfig()}, args...)...)
}
