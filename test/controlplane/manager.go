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

// ManagerOptions say how to run a manager.
type ManagerOptions struct {
	// Binary is what BuildManager returned.
	Binary string
	// Log is the file its output is appended to: manager.log in Dir unless said.
	Log string
	// WebhookPort is the port of 127.0.0.1 to serve the webhooks on. 0: it serves none.
	WebhookPort int
	// Flags come last, so that they win.
	Flags []string
}

// Manager is a running manager.
type Manager struct {
	*Process

	health string
}

// BuildManager builds cmd/manager into bin/manager, as `make build` does, with more flags if given, and returns its path.
func BuildManager(ctx context.Context, flags ...string) (string, error) {
	return build(ctx, "manager", flags...)
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

// StartManager runs a manager outside the cluster with the permissions and the environment it has inside, and waits until it
// is ready. Stop of the control plane stops it, if it still runs.
func (c *ControlPlane) StartManager(ctx context.Context, options ManagerOptions) (*Manager, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	if options.Log == "" {
		options.Log = c.logOf("manager")
	}
	health := "127.0.0.1:" + strconv.Itoa(port)
	process, err := c.launch(&c.manifests.manager, options.Log, options.Binary, append(c.managerFlags(options.WebhookPort, health), options.Flags...)...)
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
		"--account-creation-delay=0s", // most tests name accounts that do not exist, and are not about the wait
	}
	if webhookPort == 0 {
		return append(flags, "--webhooks=false")
	}
	return append(flags, "--webhook-port="+strconv.Itoa(webhookPort), "--webhook-host=127.0.0.1")
}

// AwaitReady waits until the manager says that it is ready.
func (m *Manager) AwaitReady(ctx context.Context) error { return m.awaitOK(ctx, m.health+"/readyz") }
