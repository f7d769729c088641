// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// writeArchives writes an archive of a command for each platform, with the license, and an SBOM beside it.
func (r release) writeArchives(ctx context.Context, command string) error {
	license, err := os.ReadFile(filepath.Join(r.dir, "LICENSE"))
	if err != nil {
		return err
	}
	for _, platform := range r.platforms {
		system, arch, ok := strings.Cut(platform, "/")
		if !ok {
			return fmt.Errorf("invalid platform %q: must be OS/ARCH, such as linux/amd64", platform)
		}
		program, err := r.compile(ctx, command, system, arch)
		if err != nil {
			return fmt.Errorf("for %s: %w", platform, err)
		}
		name, archive, err := r.pack(command, system, arch, program.content, license)
		if err != nil {
			return err
		}
		path := filepath.Join(r.out, name)
		if err := os.WriteFile(path+ending(system), archive, 0o644); err != nil {
			return err
		}
		if err := r.writeSBOM(path+".spdx.json", program); err != nil {
			return fmt.Errorf("describe the modules of %s: %w", name, err)
		}
	}
	return nil
}

// pack returns the archive of a command for a platform, and its name without the ending.
func (r release) pack(command, system, arch string, content, license []byte) (string, []byte, error) {
	name := strings.Join([]string{command, r.version, system, arch}, "_")
	if system == "windows" {
		archive, err := zipped(r.created, []file{{"LICENSE", license, 0o644}, {command + ".exe", content, 0o755}})
		return name, archive, err
	}
	archive, err := tarGz(r.created, []file{{"LICENSE", license, 0o644}, {command, content, 0o755}})
	return name, archive, err
}

func ending(system string) string {
	if system == "windows" {
		return ".zip"
	}
	return ".tar.gz"
}

// compile returns the program that go build makes of a command.
func (r release) compile(ctx context.Context, command, system, arch string) (program, error) {
	dir, err := os.MkdirTemp("", "release")
	if err != nil {
		return program{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, command)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", r.ldflags, "-o", path, "./cmd/"+command)
	cmd.Dir = r.dir
	cmd.Env = append(withoutGoSettings(os.Environ()), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOOS="+system, "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return program{}, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return readProgram(path)
}

// withoutGoSettings returns the environment without the variables that would change the program.
func withoutGoSettings(environment []string) []string {
	return slices.DeleteFunc(slices.Clone(environment), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{"GOAMD64", "GOARM64", "GOEXPERIMENT"}, name)
	})
}

// writeKrewManifest writes apikey.yaml, which names the archives and their checksums.
func (r release) writeKrewManifest(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "run", "github.com/apikey-manager/apikey-manager/hack/krew", "--version="+r.version, "--dir="+r.out)
	cmd.Stderr = os.Stderr
	manifest, err := cmd.Output()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, "apikey.yaml"), manifest, 0o644)
}
