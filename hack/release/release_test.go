// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/test/tools"
)

const installYAML = `spec:
      containers:
        - name: manager
          image: registry.example.com/team/manager:v0.1.0
        - name: verifier
          image: registry.example.com/team/verifier:v0.1.0
`

const changelog = `# Changelog

## [Unreleased]

- Something else

## [0.1.0] - 2026-11-28

### Added

- **Keys**

## [0.0.9] - 2026-11-01

- The beginning
`

// TestRun releases a small program for one platform, with archives for the others in place, twice in different directories.
func TestRun(t *testing.T) {
	t.Parallel()
	first, second := prepare(t), prepare(t)
	for _, r := range []release{first, second} {
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := gocmp.Diff(contents(t, first.out), contents(t, second.out)); diff != "" {
		t.Errorf("two releases of the same commit differ:\n%.2000s", diff)
	}
	checkNames(t, first)
	checkSums(t, first)
	checkArchive(t, first)
	checkSBOM(t, first)
	checkKrewManifest(t, first)
	checkChart(t, first)
	if notes := read(t, first, "release-notes.md"); notes != "### Added\n\n- **Keys**\n" {
		t.Errorf("the release notes are %q", notes)
	}
}

// prepare returns a release of a module of its own, with what make writes before.
func prepare(t *testing.T) release {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":                      "module example.com/plugin\n\ngo 1.26\n",
		"LICENSE":                     "the license\n",
		"CHANGELOG.md":                changelog,
		"cmd/kubectl-apikey/main.go":  "package main\n\nvar version string\n\nfunc main() { print(version) }\n",
		"chart/Chart.yaml":            "apiVersion: v2\nname: apikey-manager\nversion: 0.0.0\n",
		"chart/templates/object.yaml": "kind: ConfigMap\n",
		"dist/install.yaml":           installYAML,
		"dist/images/manager.tar":     "an image",
		"dist/images/manager-linux-amd64.spdx.json":         "{}",
		"dist/kubectl-apikey_v0.1.0_linux_arm64.tar.gz":     "linux arm64",
		"dist/kubectl-apikey_v0.1.0_darwin_amd64.tar.gz":    "darwin amd64",
		"dist/kubectl-apikey_v0.1.0_darwin_arm64.tar.gz":    "darwin arm64",
		"dist/kubectl-apikey_v0.1.0_windows_amd64.zip":      "windows amd64",
		"dist/kubectl-apikey_v0.1.0_windows_arm64.zip":      "windows arm64",
		"dist/images/manager/blobs/sha256/0123456789abcdef": "a layer",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := parse([]string{
		"--version=v0.1.0", "--created=2026-11-28T18:00:00Z", "--ldflags=-s -w -X main.version=v0.1.0",
		"--registry=registry.example.com/team", "--platforms=linux/amd64", "--dir=" + dir, "--changelog=" + dir + "/CHANGELOG.md",
		"--chart=" + dir + "/chart", "--helm=" + tools.Path(t, "helm"), "--out=" + dir + "/dist",
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func checkNames(t *testing.T, r release) {
	t.Helper()
	entries, err := os.ReadDir(r.out)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	want := []string{
		"SHA256SUMS", "apikey-manager-0.1.0.tgz", "apikey.yaml", "images", "install.yaml",
		"kubectl-apikey_v0.1.0_darwin_amd64.tar.gz", "kubectl-apikey_v0.1.0_darwin_arm64.tar.gz",
		"kubectl-apikey_v0.1.0_linux_amd64.spdx.json", "kubectl-apikey_v0.1.0_linux_amd64.tar.gz",
		"kubectl-apikey_v0.1.0_linux_arm64.tar.gz", "kubectl-apikey_v0.1.0_windows_amd64.zip",
		"kubectl-apikey_v0.1.0_windows_arm64.zip", "manager-linux-amd64.spdx.json", "release-notes.md",
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("files of the release: (-want +got)\n%s", diff)
	}
}

// checkSums checks the checksums with sha256sum, as users do, and that every file has one.
func checkSums(t *testing.T, r release) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", checksums)
	cmd.Dir = r.out
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	if got, want := strings.Count(string(out), ": OK\n"), len(contents(t, r.out))-1; got != want {
		t.Errorf("%d files have a checksum, want all %d but SHA256SUMS itself:\n%s", got, want, out)
	}
}

// checkArchive unpacks the archive that was built, and runs the program in it.
func checkArchive(t *testing.T, r release) {
	t.Helper()
	files := untar(t, []byte(read(t, r, "kubectl-apikey_v0.1.0_linux_amd64.tar.gz")))
	if len(files) != 2 || files[0].name != "LICENSE" || string(files[0].content) != "the license\n" || files[1].name != "kubectl-apikey" {
		t.Fatalf("the archive holds %d files, want LICENSE and kubectl-apikey", len(files))
	}
	path := filepath.Join(t.TempDir(), "kubectl-apikey")
	if err := os.WriteFile(path, files[1].content, files[1].mode); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), path).CombinedOutput(); err != nil || string(out) != "v0.1.0" {
		t.Errorf("the program in the archive prints %q (%v), want v0.1.0", out, err)
	}
}

func untar(t *testing.T, archive []byte) []file {
	t.Helper()
	compressed, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	var files []file
	for r := tar.NewReader(compressed); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		} else if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(io.LimitReader(r, 1<<28))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file{header.Name, content, header.FileInfo().Mode()})
	}
}

func checkSBOM(t *testing.T, r release) {
	t.Helper()
	var document spdxDocument
	if err := json.Unmarshal([]byte(read(t, r, "kubectl-apikey_v0.1.0_linux_amd64.spdx.json")), &document); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range document.Packages {
		names = append(names, p.Name)
	}
	if diff := gocmp.Diff([]string{"example.com/plugin", "stdlib"}, names); diff != "" {
		t.Errorf("packages of the SBOM: (-want +got)\n%s", diff)
	}
	if document.Packages[0].Version != "v0.1.0" || len(document.Relationships) != 2 {
		t.Errorf("the SBOM has version %q and %d relationships, want v0.1.0 and 2", document.Packages[0].Version, len(document.Relationships))
	}
}

// checkKrewManifest checks that the manifest has an archive for each platform with the checksum of SHA256SUMS.
func checkKrewManifest(t *testing.T, r release) {
	t.Helper()
	var manifest struct {
		Spec struct {
			Version   string
			Platforms []struct{ URI, SHA256 string }
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, r, "apikey.yaml")), &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Spec.Version != "v0.1.0" || len(manifest.Spec.Platforms) != 6 {
		t.Errorf("the manifest has version %s and %d platforms, want v0.1.0 and 6", manifest.Spec.Version, len(manifest.Spec.Platforms))
	}
	sums := read(t, r, checksums)
	for _, p := range manifest.Spec.Platforms {
		if line := p.SHA256 + "  " + filepath.Base(p.URI) + "\n"; !strings.Contains(sums, line) {
			t.Errorf("SHA256SUMS does not have the line %s", line)
		}
	}
}

func checkChart(t *testing.T, r release) {
	t.Helper()
	var chart struct{ Version, AppVersion string }
	for _, f := range untar(t, []byte(read(t, r, "apikey-manager-0.1.0.tgz"))) {
		if f.name == "apikey-manager/Chart.yaml" {
			if err := yaml.Unmarshal(f.content, &chart); err != nil {
				t.Fatal(err)
			}
		}
	}
	if chart.Version != "0.1.0" || chart.AppVersion != "v0.1.0" {
		t.Errorf("the chart has version %q and appVersion %q, want 0.1.0 and v0.1.0", chart.Version, chart.AppVersion)
	}
}

func TestPack_Windows(t *testing.T) {
	t.Parallel()
	r := release{version: "v0.1.0"}
	name, archive, err := r.pack("kubectl-apikey", "windows", "arm64", []byte("program"), []byte("license"))
	if err != nil || name+ending("windows") != "kubectl-apikey_v0.1.0_windows_arm64.zip" {
		t.Fatalf("pack() = %s, %v", name, err)
	}
	unzipped, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range unzipped.File {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, []string{"LICENSE", "kubectl-apikey.exe"}) {
		t.Errorf("the archive holds %v, want LICENSE and kubectl-apikey.exe", names)
	}
}

func TestNotes_Refuses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "CHANGELOG.md")
	if err := os.WriteFile(path, []byte(changelog+"\n## [0.0.8] - 2026-10-01\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]string{
		"":              "invalid version",
		"0.1.0":         "invalid version",
		"v0.1":          "invalid version",
		"v0.01.0":       "invalid version",
		"v0.1.0-rc.1":   "invalid version",
		"v0.1.0-3-gabc": "invalid version",
		"v0.1.0\n":      "invalid version",
		"v0.2.0":        "no section ## [0.2.0]",
		"v0.1.9":        "no section ## [0.1.9]",
		"v0.0.8":        "is empty",
	} {
		if _, err := (release{version: version, changelog: path}).notes(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("version %q: %v, want an error with %q", version, err, want)
		}
	}
}

func TestRun_RefusesWhatMakeWroteForAnotherRelease(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ installer, want string }{
		"another tag":      {strings.Replace(installYAML, "verifier:v0.1.0", "verifier:v0.0.9", 1), "verifier:v0.0.9"},
		"another registry": {strings.Replace(installYAML, "registry.example.com/team/manager", "manager", 1), "image manager:v0.1.0"},
		"no images":        {"kind: Namespace\n", "names no image"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := release{version: "v0.1.0", registry: "registry.example.com/team", out: t.TempDir()}
			if err := os.WriteFile(filepath.Join(r.out, "install.yaml"), []byte(tc.installer), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := r.checkInstaller(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("checkInstaller() = %v, want an error with %q", err, tc.want)
			}
		})
	}
	if err := (release{out: t.TempDir()}).copySBOMs(); err == nil || !strings.Contains(err.Error(), "make images") {
		t.Errorf("copySBOMs() without images = %v, want an error that names make images", err)
	}
}

// TestInstaller checks what make writes: the names of all images, and that a release accepts them.
func TestInstaller(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	kubectl := filepath.Join(cmp.Or(os.Getenv("KUBEBUILDER_ASSETS"), filepath.Join(root, "bin", "k8s")), "kubectl")
	if _, err := os.Stat(kubectl); err != nil {
		t.Skipf("SKIPPED: %s does not exist: run make controlplane", kubectl)
	}
	r := release{version: "v0.1.0", registry: "registry.example.com:5000/team", out: t.TempDir()}
	cmd := exec.CommandContext(t.Context(), "make", "build-installer", "DIST="+r.out, "KUBECTL="+kubectl,
		"REGISTRY="+r.registry, "TAG="+r.version)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
	var images []string
	for _, match := range imagePattern.FindAllStringSubmatch(read(t, r, "install.yaml"), -1) {
		images = append(images, match[1])
	}
	slices.Sort(images)
	want := []string{"registry.example.com:5000/team/manager:v0.1.0", "registry.example.com:5000/team/verifier:v0.1.0"}
	if diff := gocmp.Diff(want, images); diff != "" {
		t.Errorf("images in install.yaml: (-want +got)\n%s", diff)
	}
	if err := r.checkInstaller(); err != nil {
		t.Error(err)
	}
}

func read(t *testing.T, r release, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(r.out, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// contents returns the files below a directory with their contents.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, dir)] = string(content)
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("read the %d files of %s: %v", len(files), dir, err)
	}
	return files
}
