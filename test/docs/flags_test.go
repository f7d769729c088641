// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// environmentVariable matches the name of an environment variable in the code of a program.
var environmentVariable = regexp.MustCompile(`"((?:POD|OTEL)_[A-Z_]+|GOGC|GOMEMLIMIT)"`)

// TestFlags_DocumentEnvironmentVariables checks that docs/flags.md lists the variables that the manager and the verifier read. The
// tests of cmd check the flags.
func TestFlags_DocumentEnvironmentVariables(t *testing.T) {
	t.Parallel()
	repo := open(t)
	documented := repo.documents["docs/flags.md"].code
	for _, program := range []string{"manager", "verifier"} {
		files, err := filepath.Glob(filepath.Join(repo.root, "cmd", program, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range environmentVariable.FindAllStringSubmatch(string(text), -1) {
				found++
				if !slices.Contains(documented, match[1]) {
					t.Errorf("docs/flags.md does not have `%s`, which %s reads", match[1], file)
				}
			}
		}
		if found == 0 {
			t.Errorf("cmd/%s names no environment variable", program)
		}
	}
}
