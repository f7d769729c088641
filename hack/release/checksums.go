// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const checksums = "SHA256SUMS"

// writeChecksums writes SHA256SUMS with the checksums of all files below a directory, in the order of their names.
func writeChecksums(dir string) error {
	var lines strings.Builder
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path == checksums {
			return err
		}
		sum, err := checksum(root, path)
		fmt.Fprintf(&lines, "%s  %s\n", sum, path)
		return err
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, checksums), []byte(lines.String()), 0o644)
}

func checksum(root fs.FS, path string) (string, error) {
	f, err := root.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
