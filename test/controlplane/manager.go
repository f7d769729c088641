// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// ManagerOptions configure a manager process.
type ManagerOptions struct {
	// Binary is the path of the manager, as returned by BuildManager.
	Binary string
	// Log is the file to which the output is appended. It defaults to manager.log in Dir.
	Log string
	// WebhookPort is the port of 127.0.0.1 on which the manager serves the webhooks. If it is 0, it serves none.
	WebhookPort int
	// Flags are further flags. They take precedence over the default ones.
	Flags []string
}

// Manager is a running manager process.
type Manager struct {
	*Process

	health string
}

// BuildManager builds cmd/manager into bin/manager, as `make build` does, and returns its path. The flags are further flags of
// `go build`.
func BuildManager(ctx context.Context, flags ...string) (string, error) {
	return build(ctx, "manager", flags...)
}

// BuildPlugin builds cmd/kubectl-apikey into bin/kubectl-apikey, as `make build` does, and returns its path. The flags are further
// flags of `go build`.
func BuildPlugin(ctx context.Context, flags ...string) (string, error) {
	return build(ctx, "kubectl-apikey", flags...)
}

func build(ctx context.Context, command string, flags ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(root, "bin", command)
	args := slices.Concat([]string{"build", "-trimpath", "-ldflags=-s -w"}, flags, []string{"-o", binary, "./cmd/" + command})
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/%s: %w\n%s", command, err, out)
	}
	return binary, nil
}

// StartManager starts a manager outside the cluster with the permissions and the environment variables that it has on a cluster,
// and waits until it is ready. ControlPlane.Stop stops it.
func (c *ControlPlane) StartManager(ctx context.Context, options ManagerOptions) (*Manager, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	if options.Log == "" {
		options.Log = c.logOf("manager")
	}
	health := "127.0.0.1:" + strconv.Itoa(port)
	process, err := c.launch(
		environmentOf(&c.manifests.manager),
		options.Log,
		options.Binary,
		append(c.managerFlags(options.WebhookPort, health), options.Flags...)...)
	if err != nil {
		return nil, err
	}
	m := &Manager{Process: process, health: "http://" + health}
	ctx, cancel := context.WithTimeout(ctx, startStopTimeout)
	defer cancel()
	return m, m.AwaitReady(ctx)
}

func (c *ControlPlane) managerFlags(webhookPort int, health string) []string {
	flags := []string{
		"--kubeconfig=" + c.ManagerKubeconfig(),
		"--namespace=" + c.Namespace(),
		"--leader-elect=false",
		"--metrics-bind-address=0",
		"--health-probe-bind-address=" + health,
		"--account-creation-delay=0s", // most tests use accounts that do not exist and do not test this delay
	}
	if webhookPort == 0 {
		return append(flags, "--webhooks=false")
	}
	return append(flags, "--webhook-port="+strconv.Itoa(webhookPort), "--webhook-host=127.0.0.1")
}

// AwaitReady waits until the manager is ready.
func (m *Manager) AwaitReady(ctx context.Context) error { return m.awaitOK(ctx, m.health+"/readyz") }
