// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package version_test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestLDFLAGS builds a program with the LDFLAGS of the Makefile, as make does with all programs that are released.
func TestLDFLAGS(t *testing.T) {
	t.Parallel()
	run := func(dir, name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	root, program := filepath.Join("..", ".."), filepath.Join(t.TempDir(), "print")
	ldflags := run(root, "make", "--silent", "--eval=print-ldflags: ; @printf %s '$(LDFLAGS)'", "print-ldflags",
		"VERSION=v1.2.3", "COMMIT=c0ffee", "DATE=2026-11-28T18:00:00Z")
	run("testdata/print", "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", program, ".")
	if got, want := run("", program), "v1.2.3 (commit c0ffee, 2026-11-28T18:00:00Z)\n"; got != want {
		t.Errorf("a program that is built with the LDFLAGS of the Makefile has version %q, want %q", got, want)
	}
}
