// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"time"
)

// program is an executable with the list of the modules that it was built from, which the linker writes into it.
type program struct {
	content []byte
	build   *debug.BuildInfo
}

func readProgram(path string) (program, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return program{}, err
	}
	build, err := buildinfo.Read(bytes.NewReader(content))
	return program{content, build}, err
}

// The types below are the parts of SPDX 2.3 that an SBOM of a Go program needs.
type (
	spdxDocument struct {
		Version       string             `json:"spdxVersion"`
		ID            string             `json:"SPDXID"`
		Name          string             `json:"name"`
		Namespace     string             `json:"documentNamespace"`
		DataLicense   string             `json:"dataLicense"`
		Creation      spdxCreation       `json:"creationInfo"`
		Packages      []spdxPackage      `json:"packages"`
		Relationships []spdxRelationship `json:"relationships"`
	}
	spdxCreation struct {
		Created  time.Time `json:"created"`
		Creators []string  `json:"creators"`
	}
	spdxPackage struct {
		ID               string          `json:"SPDXID"`
		Name             string          `json:"name"`
		Version          string          `json:"versionInfo,omitempty"`
		DownloadLocation string          `json:"downloadLocation"`
		FilesAnalyzed    bool            `json:"filesAnalyzed"`
		Checksums        []spdxChecksum  `json:"checksums,omitempty"`
		ExternalRefs     []spdxReference `json:"externalRefs"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxReference struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxRelationship struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

// writeSBOM writes the SBOM of a program: the program itself, with its checksum, and the modules and the Go version in it.
func (r release) writeSBOM(path string, p program) error {
	name := strings.TrimSuffix(filepath.Base(path), ".spdx.json")
	main := goPackage(p.build.Main.Path, r.version)
	sum := sha256.Sum256(p.content)
	main.Checksums = []spdxChecksum{{"SHA256", hex.EncodeToString(sum[:])}}
	document := spdxDocument{
		Version: "SPDX-2.3", ID: "SPDXRef-DOCUMENT", Name: name, DataLicense: "CC0-1.0",
		Namespace: "https://" + p.build.Main.Path + "/spdx/" + name + "/" + hex.EncodeToString(sum[:]),
		Creation:  spdxCreation{r.created.UTC(), []string{"Tool: hack/release"}},
		Packages:  []spdxPackage{main},
		Relationships: []spdxRelationship{
			{"SPDXRef-DOCUMENT", "DESCRIBES", main.ID},
		},
	}
	for _, dependency := range append([]*debug.Module{{Path: "stdlib", Version: p.build.GoVersion}}, p.build.Deps...) {
		used := cmp.Or(dependency.Replace, dependency)
		module := goPackage(used.Path, used.Version)
		document.Packages = append(document.Packages, module)
		document.Relationships = append(document.Relationships, spdxRelationship{main.ID, "DEPENDS_ON", module.ID})
	}
	content, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o644)
}

// invalidInID matches what an identifier of SPDX must not contain.
var invalidInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

func goPackage(path, version string) spdxPackage {
	return spdxPackage{
		ID:               "SPDXRef-Package-" + invalidInID.ReplaceAllString(path+"-"+version, "-"),
		Name:             path,
		Version:          version,
		DownloadLocation: "NOASSERTION",
		ExternalRefs:     []spdxReference{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + path + "@" + version}},
	}
}
