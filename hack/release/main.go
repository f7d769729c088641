// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command release completes the files of a release in --out: make release. make build-installer and make images have written
// install.yaml and images/ there before. It adds:
//
//	kubectl-apikey_v0.1.0_linux_amd64.tar.gz          the plugin for each platform, as .zip for Windows
//	kubectl-apikey_v0.1.0_linux_amd64.spdx.json       its SBOM
//	apikey.yaml                                       the manifest of the plugin for krew
//	apikey-manager-0.1.0.tgz                          the Helm chart
//	manager-linux-amd64.spdx.json                     the SBOMs of the images
//	release-notes.md                                  the section of the version in CHANGELOG.md
//	SHA256SUMS                                        the checksums of all files, for sha256sum --check
//
// The same commit, built by the same version of Go, gives the same files.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// commands lists the programs that users run on their machines, and that are released as archives.
var commands = []string{"kubectl-apikey"}

// release says what to release.
type release struct {
	version   string // such as v0.1.0
	created   time.Time
	ldflags   string
	registry  string
	platforms []string
	dir       string // the directory of the module
	changelog string
	chart     string
	helm      string // the program
	out       string
	checkOnly bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := parse(os.Args[1:])
	if err == nil {
		err = r.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}

func parse(args []string) (release, error) {
	var r release
	var platforms, created string
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.BoolVar(&r.checkOnly, "check", false, "only check that the version can be released")
	flags.StringVar(&r.version, "version", "", "the version, such as v0.1.0")
	flags.StringVar(&created, "created", "", "the time of the commit, in RFC 3339 format; the files in archives have it")
	flags.StringVar(&r.ldflags, "ldflags", "", "the arguments of the linker")
	flags.StringVar(&r.registry, "registry", "", "the registry and the path that the names of the images begin with")
	flags.StringVar(&platforms, "platforms", "linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64",
		"the platforms of the archives, separated by spaces")
	flags.StringVar(&r.dir, "dir", ".", "the directory of the module")
	flags.StringVar(&r.changelog, "changelog", "CHANGELOG.md", "the changelog")
	flags.StringVar(&r.chart, "chart", "charts/apikey-manager", "the directory of the Helm chart")
	flags.StringVar(&r.helm, "helm", "bin/helm", "the program helm")
	flags.StringVar(&r.out, "out", "dist", "the directory of the release")
	if err := flags.Parse(args); err != nil {
		return release{}, err
	}
	r.platforms = strings.Fields(platforms)
	var err error
	if r.created, err = time.Parse(time.RFC3339, created); err != nil {
		return release{}, fmt.Errorf("--created: %w", err)
	}
	r.out, err = filepath.Abs(r.out)
	return r, err
}

// run checks first, so that a mistake takes seconds to find, and computes the checksums last.
func (r release) run(ctx context.Context) error {
	notes, err := r.notes()
	if err != nil || r.checkOnly {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.out, "release-notes.md"), []byte(notes), 0o644); err != nil {
		return err
	}
	if err := r.checkInstaller(); err != nil {
		return err
	}
	if err := r.copySBOMs(); err != nil {
		return fmt.Errorf("copy the SBOMs of the images: %w", err)
	}
	for _, command := range commands {
		if err := r.writeArchives(ctx, command); err != nil {
			return fmt.Errorf("build %s: %w", command, err)
		}
	}
	if err := r.writeKrewManifest(ctx); err != nil {
		return fmt.Errorf("write the krew manifest: %w", err)
	}
	if err := r.writeChart(ctx); err != nil {
		return fmt.Errorf("package the chart: %w", err)
	}
	return writeChecksums(r.out)
}
