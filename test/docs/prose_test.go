// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// vague matches words that hide who acts. Name the actor instead: user, client, controller, verifier, gateway, API server.
var vague = regexp.MustCompile(`(?i)\b(?:nobody|somebody|anybody|whoever)\b`)

func TestProse_NamesTheActor(t *testing.T) {
	t.Parallel()
	repo := open(t)
	for name, doc := range repo.documents {
		if word := vague.FindString(inBackticks.ReplaceAllString(doc.text, "")); word != "" {
			t.Errorf("%s has the word %q: name the actor", name, word)
		}
	}
	for name, text := range scriptsAndManifests(t, repo.root) {
		if word := vague.FindString(text); word != "" {
			t.Errorf("%s has the word %q: name the actor", name, word)
		}
	}
}

// scriptsAndManifests returns the text of the files other than Go and Markdown in which developers and users read prose.
func scriptsAndManifests(t *testing.T, root string) map[string]string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "git", "ls-files", "Makefile", ".golangci.yml", "config", "hack")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Skipf("git does not list the files: %v", err)
	}
	files := map[string]string{}
	for name := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(name, "config/crd/bases/") || strings.HasSuffix(name, ".go") || strings.Contains(name, "/testdata/") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	return files
}
