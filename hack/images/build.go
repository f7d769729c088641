// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
)

// baseName is the name of the base in the annotations of the images. The base is in no registry: every layer of it is a part of
// the image.
const baseName = "apikey-manager.local/static"

// build replaces the OCI layout and the SBOMs of a program in --out, with ko.
func (o options) build(ctx context.Context, program string) error {
	target := filepath.Join(o.out, program)
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	cache, err := os.MkdirTemp("", "images")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(cache) }()
	baseDigest, err := o.writeBase(ctx, cache)
	if err != nil {
		return err
	}
	// ko parses this path as the name of a repository, so it must be relative: a name has no upper case.
	relative, err := filepath.Rel(o.dir, target)
	if err != nil {
		return err
	}
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, o.ko, o.koArgs(program, relative)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = o.dir, &log, &log
	cmd.Env = o.koEnvironment(os.Environ(), cache, baseDigest)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ko: %w\n%s", err, log.String())
	}
	return nil
}

// writeBase writes the base to the cache of ko, where ko looks for base images that are given by digest.
func (o options) writeBase(ctx context.Context, cache string) (v1.Hash, error) {
	index, err := base(ctx, o.platforms)
	if err != nil {
		return v1.Hash{}, err
	}
	written, err := layout.Write(filepath.Join(cache, "img"), empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return v1.Hash{}, err
	}
	for _, descriptor := range manifest.Manifests {
		image, err := index.Image(descriptor.Digest)
		if err != nil {
			return v1.Hash{}, err
		}
		if err := written.AppendImage(image); err != nil {
			return v1.Hash{}, err
		}
	}
	if err := written.AppendIndex(index); err != nil {
		return v1.Hash{}, err
	}
	return index.Digest()
}

func (o options) koArgs(program, target string) []string {
	args := []string{
		"build", "--push=false", "--oci-layout-path=" + target,
		"--platform=" + strings.Join(o.platforms, ","), "--sbom=spdx", "--sbom-dir=" + o.out, "--ldflags=" + o.ldflags,
	}
	for _, label := range o.labels() {
		args = append(args, "--image-label="+label, "--image-annotation="+label)
	}
	return append(args, "./cmd/"+program)
}

func (o options) labels() []string {
	const prefix = "org.opencontainers.image."
	return []string{
		prefix + "source=" + source,
		prefix + "version=" + o.version,
		prefix + "revision=" + o.commit,
		prefix + "created=" + o.created.Format("2006-01-02T15:04:05Z07:00"),
		prefix + "licenses=Apache-2.0",
	}
}

// koEnvironment returns the environment without the variables that would change the images.
func (o options) koEnvironment(environment []string, cache string, baseDigest v1.Hash) []string {
	changing := []string{"GOOS", "GOARCH", "GOARM", "GOAMD64", "GOARM64", "GOEXPERIMENT"}
	kept := slices.DeleteFunc(slices.Clone(environment), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return strings.HasPrefix(name, "KO_") || slices.Contains(changing, name)
	})
	return append(kept,
		"CGO_ENABLED=0",
		"GOFLAGS=-buildvcs=false", // the linker is told the version; git may not know it, for example in a shallow clone
		"KO_DOCKER_REPO="+o.registry,
		"KO_DEFAULTBASEIMAGE="+baseName+"@"+baseDigest.String(),
		"KOCACHE="+cache,
		"SOURCE_DATE_EPOCH="+strconv.FormatInt(o.created.Unix(), 10),
	)
}

// readLayout returns the digest of what an OCI layout holds, and its images. ko writes an index, or an image if there is only one
// platform.
func readLayout(dir string) (v1.Hash, []v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return v1.Hash{}, nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return v1.Hash{}, nil, err
	}
	if n := len(manifest.Manifests); n != 1 {
		return v1.Hash{}, nil, fmt.Errorf("%s holds %d images, want 1", dir, n)
	}
	content := manifest.Manifests[0]
	if content.MediaType.IsIndex() {
		if index, err = index.ImageIndex(content.Digest); err != nil {
			return v1.Hash{}, nil, err
		}
	}
	images, err := partial.FindImages(index, func(v1.Descriptor) bool { return true })
	return content.Digest, images, err
}
