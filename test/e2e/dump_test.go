// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
)

// dumpOnFailure writes events, descriptions and logs of all pods to bin/e2e after a failure. It writes no Secrets.
func dumpOnFailure(SpecContext) {
	if !CurrentSpecReport().Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // that of the spec may have ended
	defer cancel()
	folder := filepath.Join(root(), "bin", "e2e")
	commands := map[string][]string{
		"events.txt":   {"get", "events", "--all-namespaces", "--sort-by", ".lastTimestamp"},
		"pods.txt":     {"describe", "pods", "--all-namespaces"},
		"keys.yaml":    {"get", "accounts,apikeys", "--all-namespaces", "--output", "yaml"},
		"nodes.txt":    {"describe", "nodes"},
		"logs.txt":     {"logs", "--all-pods", "--prefix", "--namespace", namespace, "--selector", "app.kubernetes.io/name=apikey-manager", "--tail", "500"},
		"previous.txt": {"logs", "--previous", "--prefix", "--namespace", namespace, "--selector", "app.kubernetes.io/name=apikey-manager"},
		"gateway.txt":  {"logs", "--namespace", "e2e-gateway", "deployment/gateway", "--tail", "200"},
		"client.txt":   {"logs", "--namespace", "e2e-shop", "deployment/client", "--tail", "200"},
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		GinkgoWriter.Println(err)
	}
	for name, args := range commands {
		out, err := try(ctx, settings.kubectl, args...)
		if err != nil {
			out += "\n" + err.Error() + "\n"
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(out), 0o600); err != nil {
			GinkgoWriter.Println(err)
		}
	}
	GinkgoWriter.Println("Events, descriptions and logs are in", folder)
}
