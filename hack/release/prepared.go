// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var imagePattern = regexp.MustCompile(`(?m)^\s+(?:- )?image: (.*)$`)

// checkInstaller checks that install.yaml was written for this release.
func (r release) checkInstaller() error {
	installer, err := os.ReadFile(filepath.Join(r.out, "install.yaml"))
	if err != nil {
		return err
	}
	images := imagePattern.FindAllStringSubmatch(string(installer), -1)
	if len(images) == 0 {
		return errors.New("install.yaml names no image")
	}
	for _, image := range images {
		if !strings.HasPrefix(image[1], r.registry+"/") || !strings.HasSuffix(image[1], ":"+r.version) {
			return fmt.Errorf("install.yaml names the image %s: must be one of %s with tag %s", image[1], r.registry, r.version)
		}
	}
	return nil
}

// copySBOMs copies the SBOMs of the images to the other files, because the files of a release have no directories.
func (r release) copySBOMs() error {
	sboms, err := filepath.Glob(filepath.Join(r.out, "images", "*.spdx.json"))
	if err != nil {
		return err
	}
	if len(sboms) == 0 {
		return fmt.Errorf("%s holds none: run make images", filepath.Join(r.out, "images"))
	}
	for _, sbom := range sboms {
		content, err := os.ReadFile(sbom)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(r.out, filepath.Base(sbom)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
