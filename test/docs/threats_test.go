// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// proof matches a reference to a test in SECURITY.md: the folder of its package, and the name of the function or the
// text of the spec.
var proof = regexp.MustCompile("`([a-z0-9/]+): ([^`]+)`")

// TestThreatModel_NamesExistingTests checks that each line of the tables in SECURITY.md names tests that exist.
func TestThreatModel_NamesExistingTests(t *testing.T) {
	t.Parallel()
	repo := open(t)
	lines := threats(t, filepath.Join(repo.root, "SECURITY.md"))
	if len(lines) == 0 {
		t.Fatal("the section \"Threat model\" of SECURITY.md has no table")
	}
	for _, line := range lines {
		if checkTests(t, repo, "SECURITY.md", line) == 0 {
			t.Errorf("SECURITY.md names no test for: %s", line)
		}
	}
}

// TestDesign_EveryNamedTestExists checks that each page about a design decision names tests that exist.
func TestDesign_EveryNamedTestExists(t *testing.T) {
	t.Parallel()
	repo := open(t)
	pages := 0
	for name, doc := range repo.documents {
		if !strings.HasPrefix(name, "docs/design/") || strings.HasSuffix(name, "/README.md") {
			continue
		}
		pages++
		if checkTests(t, repo, name, doc.text) == 0 {
			t.Errorf("%s names no test", name)
		}
	}
	if pages == 0 {
		t.Error("docs/design contains no pages")
	}
}

// checkTests checks that the tests that a text names exist, and returns how many it names.
func checkTests(t *testing.T, repo *repository, page, text string) int {
	t.Helper()
	proofs := proof.FindAllStringSubmatch(text, -1)
	for _, match := range proofs {
		folder, name := match[1], match[2]
		if !names(testSource(t, filepath.Join(repo.root, folder)), name) {
			t.Errorf("%s names the test %q, which %s does not have", page, name, folder)
		}
	}
	return len(proofs)
}

// threats returns the rows of the tables in the section "Threat model", without their headings.
func threats(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "\n## Threat model\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var rows []string
	inTable := false
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case strings.HasPrefix(line, "| ---"):
			inTable = true
		case inTable:
			rows = append(rows, line)
		}
	}
	return rows
}

// testSource returns the content of all test files of a package.
func testSource(t *testing.T, folder string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	return all.String()
}

// names reports whether the source has the test function, or a spec or subtest whose text starts with the name.
func names(source, name string) bool {
	function, subtest, _ := strings.Cut(name, "/")
	if strings.HasPrefix(function, "Test") || strings.HasPrefix(function, "Fuzz") {
		return strings.Contains(source, "func "+function+"(") && strings.Contains(source, subtest)
	}
	return strings.Contains(source, `"`+name)
}
