// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"path"
	"slices"
	"strings"
)

// RunBy has the test that runs the commands of a page, or of the pages of a folder: the folder of its package, and its name.
var RunBy = map[string]string{
	"README.md":               "test/pages: TestPages",
	"docs/access.md":          "test/pages: TestPages",
	"docs/backup.md":          "test/restore: TestBackup",
	"docs/cookbook.md":        "test/pages: TestPages",
	"docs/gitops.md":          "test/pages: TestPages",
	"docs/install.md":         "test/pages: TestInstallationPages",
	"docs/runbooks/":          "test/pages: TestPages",
	"docs/spec/account.md":    "test/pages: TestPages",
	"docs/spec/apikey.md":     "test/pages: TestPages",
	"docs/spec/keyexport.md":  "test/pages: TestPages",
	"docs/troubleshooting.md": "test/pages: TestPages",
	"docs/tutorial.md":        "test/pages: TestPages",
	"docs/upgrade.md":         "test/pages: TestInstallationPages",
}

// TestOf returns the test that runs the commands of a page, or "" if there is none.
func TestOf(page string) string {
	if test := RunBy[page]; test != "" {
		return test
	}
	return RunBy[path.Dir(page)+"/"]
}

// Exception is a command that no test runs.
type Exception struct {
	// Page is a page, or a folder of pages if it ends with a slash.
	Page string
	// Command is how the command begins.
	Command string
	Reason  string
}

// NotRun lists the commands of README and docs that no test runs.
var NotRun = []Exception{
	{"charts/apikey-manager/README.md", "helm test", "it needs a node; test/chart runs the command of its pod"},
	{"charts/apikey-manager/README.md", "helm install", "it waits for pods, which need a node; test/chart installs without --wait"},
	{"charts/apikey-manager/README.md", "kubectl label namespace", "the namespaces are examples; policies and pod security need a node"},
	{"charts/apikey-manager/README.md", "kubectl create secret generic smtp", "the mail server is an example; test/chart renders the values"},
	{"README.md", "make demo", "it starts a control plane of its own; its scenario is checked when it runs"},
	{"README.md", "make test", "a test can't run all tests"},
	{"README.md", "helm install", "it waits for pods; docs/install.md has the same without --wait"},
	{"README.md", "kubectl port-forward", "it needs a pod; the test has a verifier of its own"},
	{"README.md", "export VERIFIER", "the test has a verifier of its own"},
	{"README.md", "kubectl label namespace my-gateway", "the namespace is an example; NetworkPolicies need a node"},
	{"docs/access.md", "kubectl delete --kustomize", "it removes a policy that other pages show"},
	{"docs/spec/apikey.md", "kubectl annotate apikey shop-key", "the key is deleted by then; test/conformance confirms a deletion so"},
	{"docs/backup.md", "velero ", "Velero is not available to tests"},
	{"docs/cookbook.md", "kubectl logs", "the programs of the tests run outside of pods"},
	{"docs/gateways.md", "kubectl label namespace my-gateway", "the namespace is an example; NetworkPolicies need a node"},
	{"docs/gateways.md", "verifier --trusted-proxy", "it shows flags; test/gateways starts the verifier with them"},
	{"docs/install.md", "make images", "hack/images tests the images, and hack/e2e/run builds them"},
	{"docs/install.md", "docker load", "it needs a Docker engine"},
	{"docs/install.md", "kind load", "it needs kind"},
	{"docs/install.md", "ctr ", "it needs a node: hack/node/load does this for test/e2e"},
	{"docs/install.md", "kubectl rollout status", "it needs a node"},
	{"docs/install.md", "helm test", "it needs a node: test/chart runs the same program without one"},
	{"docs/install.md", "bin/kubectl-apikey check", "the programs of an installation need a node: test/cli checks one without"},
	{"docs/install.md", "kubectl create secret generic apikey-verifier-tls", "the certificate is one of the reader"},
	{"docs/monitoring.md", "kubectl apply -k config/prometheus", "it needs the CRDs of the Prometheus operator"},
	{"docs/monitoring.md", "kubectl label namespace monitoring", "the namespace is an example; NetworkPolicies need a node"},
	{"docs/runbooks/", "kubectl -n apikey-manager-system logs", "the programs of the tests run outside of pods"},
	{"docs/runbooks/", "kubectl -n apikey-manager-system rollout", "the programs of the tests run outside of pods"},
	{"docs/runbooks/", "kubectl -n apikey-manager-system describe deployment", "the programs of the tests run outside of pods"},
	{"docs/runbooks/", "kubectl -n apikey-manager-system get lease", "the tests run one manager, without a lease"},
	{"docs/runbooks/", "kubectl -n gateway patch secret", "the entry is an example"},
	{"docs/runbooks/", "kubectl label namespace monitoring", "the namespace is an example; NetworkPolicies need a node"},
	{"docs/tutorial.md", "make run", "it runs until it is stopped; test/pages has a control plane of its own"},
	{"docs/tutorial.md", "kubectl port-forward", "it needs a pod; the test has a verifier of its own"},
	{"docs/tutorial.md", "export VERIFIER", "the test has a verifier of its own"},
	{"docs/verifier.md", "kubectl label namespace my-gateway", "the namespace is an example; NetworkPolicies need a node"},
	{"docs/verifier.md", "curl -s http://apikey-verifier.apikey-manager-system", "the address is one of a cluster; test/conformance sends it"},
	{"SECURITY.md", "version=", "it names a release, and there is none to verify yet"},
	{"SECURITY.md", "identity=", "the same"},
	{"SECURITY.md", "issuer=", "the same"},
	{"SECURITY.md", "cosign ", "the same"},
	{"SECURITY.md", "sha256sum ", "the same; hack/release checks the file of a release with this program"},
	{"SECURITY.md", "gh ", "the same"},
}

// Excluded returns the exception for a command, or nil if a test runs it.
func Excluded(page string, command Command) *Exception {
	for i := range NotRun {
		if slices.Contains([]string{page, path.Dir(page) + "/"}, NotRun[i].Page) && strings.HasPrefix(command.Text, NotRun[i].Command) {
			return &NotRun[i]
		}
	}
	return nil
}
