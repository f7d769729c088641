// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command krew prints the krew manifest of a release: where the archive of the plugin is for each platform, and its checksum.
package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// apikey.yaml.tmpl is the manifest without the versions and checksums of a release.
//
//go:embed apikey.yaml.tmpl
var manifest string

// Release describes the archives of one version of the plugin.
type Release struct {
	// Version is the version with its v, such as v0.1.0.
	Version string
	// Dir is the directory of the archives on this machine, BaseURL where all releases are downloaded from.
	Dir, BaseURL string
}

// platform describes one archive.
type platform struct{ OS, Arch, Archive, SHA256, Binary string }

// Write writes the manifest. Each archive must exist.
func (r Release) Write(w io.Writer) error {
	if !strings.HasPrefix(r.Version, "v") {
		return fmt.Errorf("invalid version %q: must begin with v, such as v0.1.0", r.Version)
	}
	var platforms []platform
	for _, system := range []string{"linux", "darwin", "windows"} {
		for _, arch := range []string{"amd64", "arm64"} {
			p, err := r.platform(system, arch)
			if err != nil {
				return err
			}
			platforms = append(platforms, p)
		}
	}
	return template.Must(template.New("").Parse(manifest)).Execute(w, map[string]any{
		"Version": r.Version, "BaseURL": strings.TrimSuffix(r.BaseURL, "/"), "Platforms": platforms,
	})
}

// platform returns the description of the archive for one platform.
func (r Release) platform(system, arch string) (platform, error) {
	p := platform{OS: system, Arch: arch, Binary: "kubectl-apikey"}
	ending := ".tar.gz"
	if system == "windows" {
		p.Binary, ending = p.Binary+".exe", ".zip"
	}
	p.Archive = "kubectl-apikey_" + r.Version + "_" + system + "_" + arch + ending
	file, err := os.Open(filepath.Join(r.Dir, p.Archive))
	if err != nil {
		return p, err
	}
	defer file.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, file)
	p.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return p, err
}

func main() {
	var r Release
	flag.StringVar(&r.Version, "version", "", "the version of the release, such as v0.1.0")
	flag.StringVar(&r.Dir, "dir", "dist", "the directory of the archives kubectl-apikey_<version>_<os>_<arch>.tar.gz, or .zip for windows")
	flag.StringVar(&r.BaseURL, "base-url", "https://github.com/apikey-manager/apikey-manager/releases/download",
		"the URL below which the archives of all releases are, as <version>/<archive>")
	flag.Parse()
	if err := r.Write(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "krew:", err)
		os.Exit(1)
	}
}
