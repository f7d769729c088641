// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is the user and group of the images. It is numeric, so that Kubernetes can verify runAsNonRoot.
const user = "65532:65532"

// base returns the image that all programs are added to, for each of the platforms. It holds the root certificates of the pinned
// module golang.org/x/crypto/x509roots and the time zones of the Go toolchain, and neither a shell nor a libc.
func base(ctx context.Context, platforms []string) (v1.ImageIndex, error) {
	zones, err := timeZones(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the time zones of Go: %w", err)
	}
	content, err := archive(append(zones, accounts()...))
	if err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, name := range platforms {
		platform, err := v1.ParsePlatform(name)
		if err != nil {
			return nil, err
		}
		image, err := baseImage(platform, layer)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
	}
	return index, nil
}

func baseImage(platform *v1.Platform, layer v1.Layer) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		OS:           platform.OS,
		Architecture: platform.Architecture,
		Variant:      platform.Variant,
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       v1.Config{User: user, WorkingDir: "/"},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{CreatedBy: "hack/images", Comment: "root certificates, time zones and /etc/passwd"},
	})
}

// file is a file in the layer.
type file struct {
	name    string
	content []byte
}

// accounts returns the files about users and certificates.
func accounts() []file {
	return []file{
		{"etc/passwd", []byte("root:x:0:0:root:/:/nologin\nnonroot:x:65532:65532:nonroot:/:/nologin\n")},
		{"etc/group", []byte("root:x:0:\nnonroot:x:65532:\n")},
		{"etc/ssl/certs/ca-certificates.crt", certificates()},
	}
}

// certificates returns Mozilla's root certificates as PEM blocks. It leaves out those that Mozilla trusts with a constraint,
// because PEM cannot express it.
func certificates() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return out.Bytes()
}

// timeZones returns the time zone database of the Go toolchain, unpacked into its usual place.
func timeZones(ctx context.Context) ([]file, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	zones, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = zones.Close() }()
	var files []file
	for _, zone := range zones.File {
		if strings.HasSuffix(zone.Name, "/") {
			continue
		}
		content, err := readZipped(zone)
		if err != nil {
			return nil, err
		}
		files = append(files, file{path.Join("usr/share/zoneinfo", zone.Name), content})
	}
	return files, nil
}

func readZipped(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	return io.ReadAll(r)
}

// archive returns the files, and the directories above them, as a tar archive. They belong to root and have no time.
func archive(files []file) ([]byte, error) {
	headers := map[string]*tar.Header{"tmp/": {Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}}
	contents := map[string][]byte{}
	for _, f := range files {
		headers[f.name] = &tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(f.content))}
		contents[f.name] = f.content
		for dir := path.Dir(f.name); dir != "."; dir = path.Dir(dir) {
			headers[dir+"/"] = &tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}
		}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, header := range sorted(headers) {
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(contents[header.Name]); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

func sorted(headers map[string]*tar.Header) []*tar.Header {
	var out []*tar.Header
	for _, header := range headers {
		out = append(out, header)
	}
	slices.SortFunc(out, func(a, b *tar.Header) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
