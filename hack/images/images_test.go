// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/apikey-manager/apikey-manager/test/tools"
)

// TestRun builds the image of a small program with ko twice, in different directories and environments.
func TestRun(t *testing.T) {
	ko := tools.Path(t, "ko")
	first := build(t, ko, t.TempDir())
	t.Setenv("GOAMD64", "v3")
	t.Setenv("GOFLAGS", "-buildvcs=auto")
	second := build(t, ko, t.TempDir())
	compareDirectories(t, first.out, second.out)

	_, images, err := readLayout(filepath.Join(first.out, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	if len(images) != 2 {
		t.Fatalf("hello has images for %d platforms, want 2", len(images))
	}
	for _, image := range images {
		checkImage(t, first, image)
	}
	checkTar(t, first, images)
	checkSBOM(t, filepath.Join(first.out, "hello-linux-arm64.spdx.json"))
}

// build builds an image of the program hello in a module of its own below dir.
func build(t *testing.T, ko, dir string) options {
	t.Helper()
	write(t, filepath.Join(dir, "go.mod"), "module example.com/hello\n\ngo 1.26\n")
	write(t, filepath.Join(dir, "cmd", "hello", "main.go"), "package main\n\nvar version string\n\nfunc main() { println(version) }\n")
	o, err := parse([]string{
		"--programs=hello", "--registry=registry.example.com/team", "--tag=v1.2.3", "--version=v1.2.3", "--commit=c0ffee",
		"--created=2026-11-28T18:00:00Z", "--ldflags=-s -w -X main.version=v1.2.3", "--tar-platform=linux/arm64",
		"--dir=" + dir, "--out=" + filepath.Join(dir, "dist"), "--ko=" + ko,
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), o, &out); err != nil {
		t.Fatal(err)
	}
	if want := "registry.example.com/team/hello:v1.2.3@sha256:"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("it printed %q, want %s...", out.String(), want)
	}
	return o
}

func checkImage(t *testing.T, o options, image v1.Image) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/ko-app/hello"}, config.Config.Entrypoint); diff != "" {
		t.Errorf("entrypoint: (-want +got)\n%s", diff)
	}
	if config.Config.User != "65532:65532" || config.Config.Cmd != nil {
		t.Errorf("user %q and command %q, want 65532:65532 and none", config.Config.User, config.Config.Cmd)
	}
	wantLabels := map[string]string{
		"org.opencontainers.image.source":   "https://github.com/apikey-manager/apikey-manager",
		"org.opencontainers.image.version":  "v1.2.3",
		"org.opencontainers.image.revision": "c0ffee",
		"org.opencontainers.image.created":  "2026-11-28T18:00:00Z",
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
	if diff := cmp.Diff(wantLabels, config.Config.Labels); diff != "" {
		t.Errorf("labels: (-want +got)\n%s", diff)
	}
	if !config.Created.Equal(o.created) {
		t.Errorf("created at %s, want %s", config.Created, o.created)
	}
	files := unpack(t, image)
	if diff := cmp.Diff([]string{"ko-app/hello"}, executables(files)); diff != "" {
		t.Errorf("programs in the image: (-want +got)\n%s", diff)
	}
	if len(files["etc/ssl/certs/ca-certificates.crt"].content) == 0 || len(files["usr/share/zoneinfo/Europe/Madrid"].content) == 0 {
		t.Error("the image has no certificates or no time zones")
	}
}

func checkTar(t *testing.T, o options, images []v1.Image) {
	t.Helper()
	loaded, err := tarball.ImageFromPath(filepath.Join(o.out, "hello.tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := imageFor("linux/arm64", images)
	if err != nil {
		t.Fatal(err)
	}
	got, wanted := configName(t, loaded), configName(t, want)
	if got != wanted {
		t.Errorf("hello.tar holds the image %s, want that for linux/arm64, %s", got, wanted)
	}
	open := func() (io.ReadCloser, error) { return os.Open(filepath.Join(o.out, "hello.tar")) }
	manifest, err := tarball.LoadManifest(open)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"registry.example.com/team/hello:v1.2.3"}, manifest[0].RepoTags); diff != "" {
		t.Errorf("names in hello.tar: (-want +got)\n%s", diff)
	}
	if _, err := imageFor("linux/riscv64", images); err == nil || !strings.Contains(err.Error(), "--tar-platform") {
		t.Errorf("a platform that was not built: %v", err)
	}
}

func checkSBOM(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Version  string `json:"spdxVersion"`
		Packages []struct {
			Name string `json:"name"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, p := range document.Packages {
		names[p.Name] = true
	}
	if !strings.HasPrefix(document.Version, "SPDX-2.") || !names["example.com/hello"] {
		t.Errorf("the SBOM has version %q and packages %v, want SPDX 2 and example.com/hello", document.Version, names)
	}
}

// TestRun_OnePlatform builds for one platform, for which ko writes an image instead of an index.
func TestRun_OnePlatform(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := options{programs: []string{"hello"}, platforms: []string{"linux/amd64"}, tarPlatform: "linux/amd64"}
	o.registry, o.tag, o.dir, o.out, o.ko = "registry.example.com", "latest", dir, filepath.Join(dir, "dist"), tools.Path(t, "ko")
	write(t, filepath.Join(dir, "go.mod"), "module example.com/hello\n\ngo 1.26\n")
	write(t, filepath.Join(dir, "cmd", "hello", "main.go"), "package main\n\nfunc main() {}\n")
	for range 2 { // the second build replaces the first
		if err := run(t.Context(), o, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRun_ReportsWhatKoPrints(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := options{programs: []string{"hello"}, platforms: []string{"linux/amd64"}, tarPlatform: "linux/amd64"}
	o.registry, o.tag, o.dir, o.out, o.ko = "registry.example.com", "latest", dir, filepath.Join(dir, "dist"), tools.Path(t, "ko")
	write(t, filepath.Join(dir, "go.mod"), "module example.com/hello\n\ngo 1.26\n")
	write(t, filepath.Join(dir, "cmd", "hello", "main.go"), "package main\n\nfunc main() { mistake() }\n")
	err := run(t.Context(), o, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "undefined: mistake") || !strings.Contains(err.Error(), "hello") {
		t.Errorf("run() = %v, want an error with the message of the compiler", err)
	}
}

func TestParse_Refuses(t *testing.T) {
	t.Parallel()
	complete := []string{"--programs=manager", "--registry=r.example.com", "--tag=v1", "--created=2026-11-28T18:00:00Z"}
	if _, err := parse(complete); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ argument, want string }{
		"no programs":    {"--programs=", "--programs is empty"},
		"no registry":    {"--registry=", "--registry is empty"},
		"no tag":         {"--tag=", "--tag is empty"},
		"no time":        {"--created=", "--created"},
		"a time of date": {"--created=Sat Nov 28 18:00:00 2026", "--created"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := parse(append(slices.Clip(complete), tc.argument)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("parse() = %v, want an error with %s", err, tc.want)
			}
		})
	}
}

func compareDirectories(t *testing.T, a, b string) {
	t.Helper()
	if diff := cmp.Diff(contents(t, a), contents(t, b)); diff != "" {
		t.Errorf("two builds of the same commit differ:\n%.2000s", diff)
	}
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

func configName(t *testing.T, image v1.Image) v1.Hash {
	t.Helper()
	name, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
