// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var archives = []string{
	"kubectl-apikey_v0.1.0_linux_amd64.tar.gz", "kubectl-apikey_v0.1.0_linux_arm64.tar.gz",
	"kubectl-apikey_v0.1.0_darwin_amd64.tar.gz", "kubectl-apikey_v0.1.0_darwin_arm64.tar.gz",
	"kubectl-apikey_v0.1.0_windows_amd64.zip", "kubectl-apikey_v0.1.0_windows_arm64.zip",
}

func writeArchives(t *testing.T) Release {
	t.Helper()
	r := Release{Version: "v0.1.0", Dir: t.TempDir(), BaseURL: "https://example.com/download/"}
	for _, name := range archives {
		if err := os.WriteFile(filepath.Join(r.Dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestRelease_Write(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := writeArchives(t).Write(&out); err != nil {
		t.Fatal(err)
	}
	var plugin struct {
		Metadata struct{ Name string }
		Spec     struct {
			Version   string
			Platforms []struct {
				URI, SHA256, Bin string
				Selector         struct{ MatchLabels struct{ OS, Arch string } }
			}
		}
	}
	if err := yaml.Unmarshal(out.Bytes(), &plugin); err != nil {
		t.Fatal(err)
	}
	if plugin.Metadata.Name != "apikey" || plugin.Spec.Version != "v0.1.0" || len(plugin.Spec.Platforms) != len(archives) {
		t.Fatalf("%+v", plugin)
	}
	for i, p := range plugin.Spec.Platforms {
		labels := p.Selector.MatchLabels
		binary := "kubectl-apikey"
		if labels.OS == "windows" {
			binary += ".exe"
		}
		if want := fmt.Sprintf("%x", sha256.Sum256([]byte(archives[i]))); p.SHA256 != want || p.Bin != binary {
			t.Errorf("%s: sha256 %s, bin %s", p.URI, p.SHA256, p.Bin)
		}
		if p.URI != "https://example.com/download/v0.1.0/"+archives[i] || !strings.Contains(archives[i], labels.OS+"_"+labels.Arch) {
			t.Errorf("the archive of %+v is %s", labels, p.URI)
		}
	}
}

func TestRelease_WriteFails(t *testing.T) {
	t.Parallel()
	missing := writeArchives(t)
	if err := os.Remove(filepath.Join(missing.Dir, archives[3])); err != nil {
		t.Fatal(err)
	}
	version := writeArchives(t)
	version.Version = "0.1.0"
	for want, r := range map[string]Release{archives[3]: missing, "must begin with v": version} {
		if err := r.Write(&bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}
