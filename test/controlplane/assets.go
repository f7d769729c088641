// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrNoBinaries is returned if binaries of the control plane are missing. The error that wraps it says how to get them.
var ErrNoBinaries = errors.New("no control plane to start")

const (
	assetsVariable    = "KUBEBUILDER_ASSETS"
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	kubectl           = "kubectl"
)

var ourModule = regexp.MustCompile(`(?m)^module github\.com/apikey-manager/apikey-manager$`)

// Root returns the root folder of this module: the working directory or the nearest folder above it with its go.mod.
func Root() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && ourModule.Match(mod) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("neither %s nor a folder above it is the apikey-manager repository", start)
		}
	}
}

// assets returns the folder of the control plane's binaries: $KUBEBUILDER_ASSETS, or bin/k8s of the repository.
func assets(root string) (string, error) {
	dir := os.Getenv(assetsVariable)
	if dir == "" {
		dir = filepath.Join(root, "bin", "k8s")
	}
	var missing []string
	for _, name := range []string{etcd, apiServer, kubectl} {
		if !exists(filepath.Join(dir, name)) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return dir, nil
	}
	return "", fmt.Errorf("%w: %s lacks %s\nrun `make controlplane`, which builds them from source, once; or set %s to a folder that has them",
		ErrNoBinaries, dir, strings.Join(missing, ", "), assetsVariable)
}

// Kubectl returns the path of kubectl, for tests that need no control plane.
func Kubectl() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir, err := assets(root)
	return filepath.Join(dir, kubectl), err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// KubectlPath returns the path of kubectl for callers that need no control plane.
func KubectlPath() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir, err := assets(root)
	return filepath.Join(dir, kubectl), err
}
