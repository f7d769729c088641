// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package install_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// TestApply_ServerSideAfterClientSide switches an installation from client-side to server-side apply and back. If the
// manifests relied on defaults for fields inside lists, there would be conflicts.
func TestApply_ServerSideAfterClientSide(t *testing.T) {
	t.Parallel()
	plane := controlplanetest.Start(t, controlplane.Options{WithoutControllers: true})
	kubectl := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), plane.Kubectl(), append([]string{"--kubeconfig", plane.Kubeconfig()}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("kubectl %v: %v\n%s", args, err, out)
		}
	}
	// The control plane has installed everything but the Deployments by server-side apply. This test starts with
	// client-side apply.
	kubectl("delete", "--namespace", plane.Namespace(), "services,networkpolicies,poddisruptionbudgets", "--all")
	manifests := filepath.Join(plane.Root(), "config", "default")
	kubectl("apply", "--kustomize", manifests)
	kubectl("apply", "--server-side", "--kustomize", manifests)
	kubectl("apply", "--server-side", "--kustomize", manifests)
	kubectl("apply", "--kustomize", manifests)
	kubectl("apply", "--server-side", "--field-manager=another-pipeline", "--kustomize", manifests)
}
