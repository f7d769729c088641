// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestEnvoyGateway_SampleIsAccepted applies the sample to a real API server with the CRDs of Envoy Gateway.
func TestEnvoyGateway_SampleIsAccepted(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	crds := filepath.Join(w.plane.Root(), "bin", "gateways", "envoy-gateway-crds")
	if _, err := os.Stat(crds); err != nil {
		t.Skipf("SKIPPED: the sample of Envoy Gateway was not tested: there is no %s. Run `make gateways`", crds)
	}
	w.kubectl(t, "apply", "--server-side", "-f", crds)
	w.kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "-f", crds)
	sample := filepath.Join(w.plane.Root(), "config", "samples", "gateways", "envoy-gateway")
	w.kubectl(t, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", sample)
}

func (w *suite) kubectl(t *testing.T, args ...string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), w.plane.Kubectl(), append([]string{"--kubeconfig=" + w.plane.Kubeconfig()}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out.String())
	}
}
