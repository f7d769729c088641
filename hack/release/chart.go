// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// writeChart packages the chart with helm. Helm copies the times of the files, so it gets a copy with the time of the commit.
func (r release) writeChart(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "release")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	chart := filepath.Join(dir, filepath.Base(r.chart))
	if err := os.CopyFS(chart, os.DirFS(r.chart)); err != nil {
		return err
	}
	err = filepath.WalkDir(chart, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, r.created, r.created)
	})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, r.helm, "package", chart, "--destination="+r.out,
		"--version="+strings.TrimPrefix(r.version, "v"), "--app-version="+r.version)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("helm package: %w\n%s", err, out)
	}
	return nil
}
