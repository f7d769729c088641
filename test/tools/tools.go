// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package tools finds the programs that tests run and that make builds into bin/, such as helm.
package tools

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Path returns the path of bin/<name>, and skips the test if make has not built it yet. make test builds all of them first.
func Path(tb testing.TB, name string) string {
	tb.Helper()
	path := filepath.Join(root(), "bin", name)
	if _, err := os.Stat(path); err != nil {
		tb.Skipf("SKIPPED: bin/%s does not exist: run make bin/%s", name, name)
	}
	return path
}

// root returns the directory of the repository.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}
