// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// placeholder matches a part of a message that differs, such as <account>.
var placeholder = regexp.MustCompile(`<\w+>`)

// TestTroubleshooting_MessagesExist checks that the messages that docs/troubleshooting.md quotes, in its text blocks, are in the code or
// in the manifests.
func TestTroubleshooting_MessagesExist(t *testing.T) {
	t.Parallel()
	repo := open(t)
	source, messages := sources(t, repo.root), 0
	for _, block := range repo.documents["docs/troubleshooting.md"].Blocks {
		if block.Language != "text" {
			continue
		}
		for line := range strings.Lines(block.Text) {
			messages++
			for _, fragment := range placeholder.Split(spaced(line), -1) {
				if !strings.Contains(source, fragment) {
					t.Errorf("docs/troubleshooting.md:%d: neither the code nor the manifests have %q", block.Line, fragment)
				}
			}
		}
	}
	if messages == 0 {
		t.Error("docs/troubleshooting.md quotes no message")
	}
}

// sources returns the code of the programs, without tests, and the manifests.
func sources(t *testing.T, root string) string {
	t.Helper()
	var all strings.Builder
	for _, folder := range []string{"internal", "controllers", "cmd", "config"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !slices.Contains([]string{".go", ".yaml"}, filepath.Ext(path)) || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			all.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return spaced(all.String())
}

// spaced returns a text with single spaces, because long messages have line breaks in manifests.
func spaced(text string) string { return strings.Join(strings.Fields(text), " ") }
