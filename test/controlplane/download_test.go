// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// releases are the files of a server, by path.
type releases map[string]string

// published returns what is released of Kubernetes v1 and etcd v3 for a platform, with checksums.
func published(t *testing.T) releases {
	t.Helper()
	files := releases{}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kubectl"} {
		path := "/v1/bin/os/arch/" + name
		files[path] = "the program " + name
		files[path+".sha256"] = digest(files[path]) + "\n"
	}
	const archive = "etcd-v3-os-arch.tar.gz"
	files["/v3/"+archive] = tarball(t, "etcd-v3-os-arch/etcd", "the program etcd")
	files["/v3/SHA256SUMS"] = digest("another") + "  etcd-v3-os-other.tar.gz\n" + digest(files["/v3/"+archive]) + "  " + archive + "\n"
	return files
}

func digest(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

func tarball(t *testing.T, name, content string) string {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestDownload_VerifiesChecksums(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(releases)
		want   string // empty: it succeeds
	}{
		"as published":              {change: func(releases) {}},
		"another program":           {func(r releases) { r["/v1/bin/os/arch/kubectl"] = "evil" }, "kubectl does not match its published checksum"},
		"another archive":           {func(r releases) { r["/v3/etcd-v3-os-arch.tar.gz"] = tarball(t, "etcd-v3-os-arch/etcd", "evil") }, "etcd-v3-os-arch.tar.gz does not match its published checksum"},
		"a program is missing":      {func(r releases) { delete(r, "/v1/bin/os/arch/kube-apiserver") }, "no release at"},
		"a checksum is missing":     {func(r releases) { delete(r, "/v1/bin/os/arch/kubectl.sha256") }, "no release at"},
		"a page in place of one":    {func(r releases) { r["/v1/bin/os/arch/kubectl.sha256"] = "<html>" }, "there is no checksum for kubectl"},
		"an empty checksum":         {func(r releases) { r["/v1/bin/os/arch/kubectl.sha256"] = "" }, "there is no checksum for kubectl"},
		"an archive without a line": {func(r releases) { r["/v3/SHA256SUMS"] = digest("x") + "  etcd-v3-os-other.tar.gz\n" }, "there is no checksum for etcd-v3-os-arch.tar.gz"},
		"nothing is there":          {func(r releases) { clear(r) }, "no release at"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := published(t)
			tc.change(files)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				content, ok := files[r.URL.Path]
				if !ok {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				_, _ = w.Write([]byte(content))
			}))
			t.Cleanup(server.Close)
			dir, said, err := download(t, server.URL)
			if tc.want == "" {
				if err != nil {
					t.Fatalf("%v: %s", err, said)
				}
				for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kubectl", "etcd"} {
					got, err := os.ReadFile(filepath.Join(dir, name))
					if err != nil || string(got) != "the program "+name {
						t.Errorf("%s is %q, %v", name, got, err)
					}
				}
				return
			}
			if err == nil || !strings.Contains(said, tc.want) {
				t.Errorf("%v: %q, want %q", err, said, tc.want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("it left %v, %v", left, err)
			}
		})
	}
}

func TestDownload_WithoutNetwork(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	if _, said, err := download(t, server.URL); err == nil || !strings.Contains(said, "no release at") {
		t.Errorf("%v: %q", err, said)
	}
}

// download runs hack/controlplane/download against a server.
func download(t *testing.T, url string) (dir, said string, err error) {
	t.Helper()
	dir = t.TempDir()
	cmd := exec.CommandContext(t.Context(), "../../hack/controlplane/download", dir, "v1", "v3", "os", "arch")
	cmd.Env = append(os.Environ(), "KUBERNETES_RELEASES="+url, "ETCD_RELEASES="+url, "NO_PROXY=127.0.0.1")
	out, err := cmd.CombinedOutput()
	return dir, string(out), err
}
