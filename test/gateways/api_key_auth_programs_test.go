// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// exportNamespace is the namespace of the samples of KeyExports.
const exportNamespace = "gateway"

// exportEnvoy is an Envoy that checks keys itself, with its filter api_key_auth. The script of the sample writes the configuration of
// the filter from the Secrets of a KeyExport.
var exportEnvoy = gateway{
	name: "envoy", samples: "exports/envoy/*", version: "--version", prepare: (*suite).prepareExportEnvoy,
	args: []string{"-c", "DIR/envoy.yaml", "--concurrency", "2", "--disable-hot-restart"},
}

// exportEnvoyGateway is an Envoy Gateway whose SecurityPolicies read the Secrets of a KeyExport. It has a controller name of its own,
// so that it ignores the Gateways of other tests.
var exportEnvoyGateway = gateway{
	name: "envoy-gateway", samples: "exports/envoy-gateway.yaml", version: "version", prepare: (*suite).prepareExportEnvoyGateway,
	args: []string{"server", "--config-path", "DIR/server.yaml"},
	otherFiles: map[string]string{
		"server.yaml": envoyGatewayConfig + "gateway: {controllerName: gateway.envoyproxy.io/exports}\n", "chroot": envoyGatewayChroot,
	},
}

// exportGatewayObjects are what the sample of Envoy Gateway refers to.
const exportGatewayObjects = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: exports}
spec: {controllerName: gateway.envoyproxy.io/exports}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: gateway, name: api}
spec:
  gatewayClassName: exports
  listeners: [{name: http, protocol: HTTP, port: %s}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: gateway, name: application}
spec:
  parentRefs: [{name: api}]
  rules: [{backendRefs: [{name: application, port: 8090}]}]
`

// prepareExportEnvoy applies the sample, and runs its script with the permissions of its ServiceAccount until the end of the test.
func (w *suite) prepareExportEnvoy(t *testing.T, dir, _, _ string, _ *runningGateway) []string {
	t.Helper()
	w.applyNamespace(t, exportNamespace)
	w.kubectl(t, "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", filepath.Join(dir, "export.yaml"))
	file := filepath.Join(dir, "filter.yaml")
	script, err := controlplane.StartProcess(filepath.Join(dir, "api-keys.log"), "env",
		"PATH="+filepath.Dir(w.plane.Kubectl())+string(os.PathListSeparator)+os.Getenv("PATH"), "KUBECACHEDIR="+filepath.Join(dir, "cache"),
		"KUBECONFIG="+w.kubeconfigOf(t, dir, exportNamespace, "envoy"), "NAMESPACE="+exportNamespace, "FILE="+file,
		"SELECTOR=gateway.example.com/keys=envoy", "sh", filepath.Join(dir, "api-keys.sh"))
	controlplanetest.Must(t, err)
	t.Cleanup(func() {
		controlplanetest.Must(t, script.Stop(controlplanetest.Timeout))
		w.expectNoKeysLogged(t, &gateway{name: "api-keys.sh"}, script.Log)
		if t.Failed() {
			t.Logf("api-keys.sh said:\n%s", controlplane.Tail(script.Log, 4000))
		}
	})
	controlplanetest.Must(t, script.Await(t.Context(), func() error {
		_, err := os.Stat(file)
		return err
	}))
	return nil
}

// kubeconfigOf writes a kubeconfig with a token of a ServiceAccount.
func (w *suite) kubeconfigOf(t *testing.T, dir, namespace, account string) string {
	t.Helper()
	admin, err := os.ReadFile(w.plane.Kubeconfig())
	controlplanetest.Must(t, err)
	file := filepath.Join(dir, "kubeconfig")
	write(t, file, string(admin))
	config := func(args ...string) {
		run(t, w.plane.Kubectl(), append([]string{"--kubeconfig=" + file, "config"}, args...)...)
	}
	config("set-credentials", account, "--token="+controlplanetest.Token(t, w.admin, namespace, account))
	config("set-context", "--current", "--user="+account)
	return file
}

// prepareExportEnvoyGateway applies the sample and what it refers to.
func (w *suite) prepareExportEnvoyGateway(t *testing.T, dir, program, _ string, f *runningGateway) []string {
	t.Helper()
	w.requireEnvoyGateway(t, dir, program)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(f.url, "http://"))
	controlplanetest.Must(t, err)
	w.applyNamespace(t, exportNamespace)
	w.apply(t, fmt.Sprintf(exportGatewayObjects, port))
	w.apply(t, fmt.Sprintf(envoyGatewayService, exportNamespace, "application", 8090))
	w.applyEndpoints(t, exportNamespace, "application", "first", f.application.address())
	w.kubectl(t, "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", filepath.Join(dir, "envoy-gateway.yaml"))
	return w.envoyGatewayCommand(t, dir, program)
}

func (w *suite) applyNamespace(t *testing.T, name string) {
	t.Helper()
	w.apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+name+"}\n")
}
