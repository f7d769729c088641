// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/console"
)

// TestCommands_AreRun checks that each command of README and docs is run by a test, or listed with the reason why not.
func TestCommands_AreRun(t *testing.T) {
	t.Parallel()
	repo := open(t)
	used := map[*console.Exception]bool{}
	for name, doc := range repo.documents {
		run := 0
		for _, command := range doc.Commands() {
			if exception := console.Excluded(name, command); exception != nil {
				used[exception] = true
				continue
			}
			run++
			if console.TestOf(name) == "" {
				t.Errorf("%s:%d: no test runs this command: add the page to console.RunBy, or the command to console.NotRun\n%s", name, command.Line, command.Text)
			}
		}
		if run == 0 && console.RunBy[name] != "" {
			t.Errorf("%s is in console.RunBy, but has no command that a test runs", name)
		}
	}
	for i := range console.NotRun {
		e := &console.NotRun[i]
		if !used[e] || e.Reason == "" {
			t.Errorf("console.NotRun: %s has no command that begins with %q and is not covered by an earlier entry, or the reason is missing", e.Page, e.Command)
		}
	}
}

// TestCommands_RunByExistingTests checks that the tests that console.RunBy names exist and name the page.
func TestCommands_RunByExistingTests(t *testing.T) {
	t.Parallel()
	repo := open(t)
	for page, test := range console.RunBy {
		folder, name, _ := strings.Cut(test, ": ")
		source := testSource(t, filepath.Join(repo.root, filepath.FromSlash(folder)))
		if !names(source, name) {
			t.Errorf("console.RunBy: %s is run by %q, which does not exist", page, test)
		}
		if !strings.Contains(source, page) && !strings.Contains(source, `"`+filepath.Base(page)+`"`) {
			t.Errorf("console.RunBy: the tests of %s do not name %s", folder, page)
		}
		if _, ok := repo.documents[page]; !ok && !strings.HasSuffix(page, "/") {
			t.Errorf("console.RunBy: %s does not exist", page)
		}
	}
}
