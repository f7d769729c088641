// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// try runs a command with the kubeconfig of the cluster, and returns its output.
func try(ctx context.Context, name string, args ...string) (string, error) {
	return tryWithInput(ctx, nil, name, args...)
}

// tryWithInput is try with a standard input, which may contain a key.
func tryWithInput(ctx context.Context, input io.Reader, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdin = root(), input
	cmd.Env = append(os.Environ(), "KUBECONFIG="+settings.kubeconfig)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// run is try for commands that must succeed.
func run(ctx context.Context, name string, args ...string) string {
	GinkgoHelper()
	out, err := try(ctx, name, args...)
	Expect(err).NotTo(HaveOccurred())
	return out
}

func kubectl(ctx context.Context, args ...string) string {
	GinkgoHelper()
	return run(ctx, settings.kubectl, args...)
}

// applyFile applies a file of testdata.
func applyFile(ctx context.Context, name string) {
	GinkgoHelper()
	kubectl(ctx, "apply", "--server-side", "--filename", testdata(name))
}

// awaitRollout waits until the pods of a Deployment are those of its template, and available.
func awaitRollout(ctx context.Context, namespace string, deployments ...string) {
	GinkgoHelper()
	for _, name := range deployments {
		kubectl(ctx, "rollout", "status", "deployment/"+name, "--namespace", namespace, "--timeout", timeout.String())
	}
}

// figures adds lines to the report of the run, whatever its result.
func figures(name, format string, args ...any) {
	AddReportEntry(name, fmt.Sprintf(format, args...), ReportEntryVisibilityAlways)
}
