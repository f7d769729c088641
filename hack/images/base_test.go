// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

func TestBase(t *testing.T) {
	t.Parallel()
	index, err := base(t.Context(), []string{"linux/amd64", "linux/arm64"})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(manifest.Manifests); n != 2 {
		t.Fatalf("the index has %d images, want 2", n)
	}
	for _, descriptor := range manifest.Manifests {
		image, err := index.Image(descriptor.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Config.User != user || config.Platform().String() != descriptor.Platform.String() {
			t.Errorf("user %q, platform %s, want %s, %s", config.Config.User, config.Platform(), user, descriptor.Platform)
		}
		checkFiles(t, unpack(t, image))
	}
	again, err := base(t.Context(), []string{"linux/amd64", "linux/arm64"})
	if err != nil {
		t.Fatal(err)
	}
	if first, second := digest(t, index), digest(t, again); first != second {
		t.Errorf("the base has the digest %s, and %s when it is built again", first, second)
	}
}

// checkFiles checks that the base holds certificates and time zones that Go can read, and nothing that can be run or changed.
func checkFiles(t *testing.T, files map[string]entry) {
	t.Helper()
	for name, file := range files {
		switch {
		case file.Typeflag == tar.TypeDir && (file.Mode == 0o755 || name == "tmp/" && file.Mode == 0o1777):
		case file.Typeflag == tar.TypeReg && file.Mode == 0o644:
		default:
			t.Errorf("%s has type %c and mode %o", name, file.Typeflag, file.Mode)
		}
		if file.Uid != 0 || file.Gid != 0 || file.ModTime.Unix() != 0 {
			t.Errorf("%s belongs to %d:%d and was modified at %s, want 0:0 at the epoch", name, file.Uid, file.Gid, file.ModTime)
		}
		if parent := name[:strings.LastIndex(strings.TrimSuffix(name, "/"), "/")+1]; parent != "" && files[parent].Header == nil {
			t.Errorf("the directory of %s is missing", name)
		}
	}
	if !x509.NewCertPool().AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"].content) {
		t.Error("Go finds no certificate in etc/ssl/certs/ca-certificates.crt")
	}
	for _, zone := range []string{"UTC", "Europe/Madrid", "America/Argentina/Buenos_Aires"} {
		if _, err := time.LoadLocationFromTZData(zone, files["usr/share/zoneinfo/"+zone].content); err != nil {
			t.Errorf("time zone %s: %v", zone, err)
		}
	}
	if passwd := string(files["etc/passwd"].content); !strings.Contains(passwd, "nonroot:x:65532:65532:") {
		t.Errorf("etc/passwd does not name the user: %s", passwd)
	}
}

// TestCertificates checks that every root without a constraint is in the bundle, and none with one.
func TestCertificates(t *testing.T) {
	t.Parallel()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificates())
	var unconstrained, constrained int
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		_, err = certificate.Verify(x509.VerifyOptions{
			Roots: pool, CurrentTime: certificate.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		switch {
		case root.Constraint == nil && err != nil:
			t.Errorf("%s is not trusted: %v", certificate.Subject, err)
		case root.Constraint != nil && err == nil:
			t.Errorf("%s is trusted without its constraint", certificate.Subject)
		}
		if root.Constraint == nil {
			unconstrained++
		} else {
			constrained++
		}
	}
	if unconstrained < 100 {
		t.Errorf("the bundle has %d roots without and %d with a constraint, want at least 100 without", unconstrained, constrained)
	}
}

// TestArchive_IsComplete checks the end of the archive: readers in Go do not miss it.
func TestArchive_IsComplete(t *testing.T) {
	t.Parallel()
	content, err := archive([]file{{"etc/passwd", []byte("root")}})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(content, make([]byte, 1024)) {
		t.Error("the archive does not end with two empty blocks")
	}
}

type entry struct {
	*tar.Header
	content []byte
}

// unpack returns the files of all layers of an image by name. Directories end with a slash.
func unpack(t *testing.T, image v1.Image) map[string]entry {
	t.Helper()
	files := map[string]entry{}
	content := mutate.Extract(image)
	defer func() { _ = content.Close() }()
	for r := tar.NewReader(content); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		} else if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		if _, err := io.Copy(&file, io.LimitReader(r, 1<<28)); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(header.Name, "/")
		if header.Typeflag == tar.TypeDir {
			name = strings.TrimSuffix(name, "/") + "/"
		}
		files[name] = entry{header, file.Bytes()}
	}
}

func digest(t *testing.T, of interface{ Digest() (v1.Hash, error) }) v1.Hash {
	t.Helper()
	hash, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func executables(files map[string]entry) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for name := range maps.Keys(files) {
			if files[name].Typeflag == tar.TypeReg && files[name].Mode&0o111 != 0 && !yield(name) {
				return
			}
		}
	})
}
