// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package pages_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/console"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
	"github.com/apikey-manager/apikey-manager/test/tools"
)

const installHelm = "helm install apikey-manager charts/apikey-manager --namespace apikey-manager-system --create-namespace"

// cluster is a control plane without nodes, so that nothing runs that is installed on it.
type cluster struct {
	plane       *controlplane.ControlPlane
	environment []string
}

// TestInstallationPages runs the commands of the pages about installations. Each way to install begins without another one.
func TestInstallationPages(t *testing.T) {
	t.Parallel()
	helm := tools.Path(t, "helm")
	plane := controlplanetest.Start(t, controlplane.Options{})
	c := &cluster{plane: plane, environment: []string{
		"KUBECONFIG=" + plane.Kubeconfig(),
		"KUBECACHEDIR=" + filepath.Join(plane.Dir(), "cache"),
		"KUBEBUILDER_ASSETS=" + filepath.Dir(plane.Kubectl()), // make uses the kubectl there
		"PATH=" + filepath.Dir(plane.Kubectl()) + ":" + filepath.Dir(helm) + ":" + os.Getenv("PATH"),
		"HELM_CACHE_HOME=" + t.TempDir(), "HELM_CONFIG_HOME=" + t.TempDir(), "HELM_DATA_HOME=" + t.TempDir(),
		"SMTP_PASSWORD=not-a-password",
	}}
	for _, p := range []page{
		{name: "docs/install.md", before: map[string]func(*testing.T){
			"Helm": c.uninstall, "Kustomize": c.uninstall, "One file": c.uninstall, "Mail": c.install(installHelm),
			"ConfigMaps of KeyExports": func(t *testing.T) { c.run(t, "kubectl create namespace gateway") },
		}},
		{name: "docs/upgrade.md", before: map[string]func(*testing.T){
			"Upgrade the installation": c.install(installHelm),
			"From kustomize to Helm":   c.install("kubectl apply --server-side --kustomize config/default"),
		}},
	} {
		t.Run(p.name, func(t *testing.T) {
			runner := &console.Runner{Root: plane.Root(), Environment: c.environment, Before: p.before}
			runner.Run(t, p.name)
		})
	}
}

// install returns a function that installs with a command, after it has removed another installation.
func (c *cluster) install(command string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		c.uninstall(t)
		c.run(t, command)
	}
}

// uninstall deletes everything that any way to install creates, except for the namespace.
func (c *cluster) uninstall(t *testing.T) {
	t.Helper()
	c.run(t, "kubectl create namespace apikey-manager-system --dry-run=client -o yaml | kubectl apply --server-side -f -")
	c.run(t, "kubectl delete validatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings,"+
		"customresourcedefinitions,clusterroles,clusterrolebindings --selector app.kubernetes.io/part-of=apikey-manager")
	c.run(t, "kubectl delete deployments,services,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers,roles,rolebindings,"+
		"serviceaccounts,secrets --all --namespace apikey-manager-system")
	c.run(t, "kubectl delete roles,rolebindings --selector app.kubernetes.io/part-of=apikey-manager --namespace kube-system")
}

func (c *cluster) run(t *testing.T, command string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", command)
	cmd.Dir, cmd.Env = c.plane.Root(), append(os.Environ(), c.environment...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}
