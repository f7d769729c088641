// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package krew_test installs the kubectl plugin with krew from a local archive, and runs it through kubectl.
package krew_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/internal/version"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
	"github.com/apikey-manager/apikey-manager/test/tools"
)

const release = "v0.1.0"

// run runs a program in the root folder of the repository, and returns its standard output.
func run(t *testing.T, environment []string, program string, args ...string) []byte {
	t.Helper()
	root, err := controlplane.Root()
	controlplanetest.Must(t, err)
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), environment...)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(program), strings.Join(args, " "), err, out.String(), problem.String())
	}
	return out.Bytes()
}

// writeArchives builds the plugin for this platform, and writes the archives of a release. Those of the other platforms are empty:
// krew does not open them.
func writeArchives(t *testing.T) (dir, archive string) {
	t.Helper()
	dir = t.TempDir()
	plugin := filepath.Join(dir, "kubectl-apikey")
	run(t, nil, "go", "build", "-trimpath", "-ldflags=-s -w -X github.com/apikey-manager/apikey-manager/internal/version.version="+release,
		"-o", plugin, "./cmd/kubectl-apikey")
	for _, platform := range []string{
		"linux_amd64.tar.gz", "linux_arm64.tar.gz", "darwin_amd64.tar.gz", "darwin_arm64.tar.gz", "windows_amd64.zip", "windows_arm64.zip",
	} {
		controlplanetest.Must(t, os.WriteFile(filepath.Join(dir, "kubectl-apikey_"+release+"_"+platform), nil, 0o600))
	}
	archive = filepath.Join(dir, "kubectl-apikey_"+release+"_"+runtime.GOOS+"_"+runtime.GOARCH+".tar.gz")
	controlplanetest.Must(t, os.WriteFile(archive, pack(t, plugin), 0o600))
	return dir, archive
}

// pack returns an archive of one program.
func pack(t *testing.T, program string) []byte {
	t.Helper()
	content, err := os.ReadFile(program)
	controlplanetest.Must(t, err)
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	controlplanetest.Must(t, archive.WriteHeader(&tar.Header{Name: filepath.Base(program), Mode: 0o755, Size: int64(len(content))}))
	_, err = archive.Write(content)
	controlplanetest.Must(t, err)
	controlplanetest.Must(t, archive.Close())
	controlplanetest.Must(t, zip.Close())
	return out.Bytes()
}

func TestKrew_InstallsPlugin(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: it builds the plugin")
	}
	krew := tools.Path(t, "krew")
	kubectl, err := controlplane.Kubectl()
	if errors.Is(err, controlplane.ErrNoBinaries) {
		t.Skipf("SKIPPED: %v", err)
	}
	controlplanetest.Must(t, err)
	dir, archive := writeArchives(t)
	manifest := filepath.Join(dir, "apikey.yaml")
	controlplanetest.Must(t, os.WriteFile(manifest, run(t, nil, "go", "run", "./hack/krew", "--version="+release, "--dir="+dir), 0o600))

	root := t.TempDir()
	environment := []string{
		"KREW_ROOT=" + root, "KREW_NO_UPGRADE_CHECK=1", "HOME=" + root, "KUBECONFIG=" + filepath.Join(root, "none"),
		"PATH=" + filepath.Join(root, "bin") + ":" + filepath.Dir(kubectl) + ":" + os.Getenv("PATH"),
	}
	run(t, environment, krew, "install", "--manifest="+manifest, "--archive="+archive)
	var got struct{ Client version.Info }
	controlplanetest.Must(t, json.Unmarshal(run(t, environment, kubectl, "apikey", "version", "--client", "-o", "json"), &got))
	if got.Client.Version != release {
		t.Errorf("the installed plugin has version %s, want %s", got.Client.Version, release)
	}
	if list := string(run(t, environment, kubectl, "plugin", "list")); !strings.Contains(list, filepath.Join(root, "bin", "kubectl-apikey")) {
		t.Errorf("kubectl finds the plugins %s", list)
	}
}
