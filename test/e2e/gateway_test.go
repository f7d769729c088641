// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// gatewayConfiguration writes Caddy's sample with the addresses of the cluster to a file, and returns its path.
func gatewayConfiguration() string {
	GinkgoHelper()
	sample, err := os.ReadFile(filepath.Join(root(), "config", "samples", "gateways", "caddy", "Caddyfile"))
	Expect(err).NotTo(HaveOccurred())
	text := strings.NewReplacer(
		"127.0.0.1:8080", "apikey-verifier."+namespace+".svc.cluster.local:8080",
		"127.0.0.1:8090", "application.e2e-gateway.svc.cluster.local:8090",
	).Replace(string(sample))
	// The file system of the container is read-only.
	text = strings.Replace(text, "{\n", "{\n\tadmin off\n\tpersist_config off\n", 1)
	file := filepath.Join(GinkgoT().TempDir(), "Caddyfile")
	Expect(os.WriteFile(file, []byte(text), 0o600)).To(Succeed())
	return file
}
