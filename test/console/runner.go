// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Runner runs the commands of pages.
type Runner struct {
	// Root is the root of the repository. Its files are in the working directory of the commands.
	Root string
	// Environment is the environment of the commands, such as KUBECONFIG=....
	Environment []string
	// Before is called before the first command below a heading, to prepare what the page leaves to the reader.
	Before map[string]func(t *testing.T)
}

// Run runs a page from top to bottom, in a directory of its own. It ends the test at the first command that does not have the
// outcome that the page shows. It skips the commands of NotRun.
func (r *Runner) Run(t *testing.T, name string) {
	t.Helper()
	page, err := Read(r.Root, name)
	if err != nil {
		t.Fatal(err)
	}
	sh, err := startShell(r.directory(t), append(os.Environ(), r.Environment...))
	if err != nil {
		t.Fatal(err)
	}
	defer sh.stop()
	prepared := map[string]bool{}
	for _, block := range page.Blocks {
		if prepare := r.Before[block.Heading]; prepare != nil && !prepared[block.Heading] {
			prepared[block.Heading] = true
			prepare(t)
		}
		r.runBlock(t, sh, name, block)
	}
	for title := range r.Before {
		if !prepared[title] {
			t.Errorf("%s has no block below the heading %q", name, title)
		}
	}
}

func (r *Runner) runBlock(t *testing.T, sh *shell, page string, block Block) {
	t.Helper()
	if file, ok := block.File(); ok {
		if err := save(sh.dir, file, block.Text); err != nil {
			t.Fatalf("%s:%d: %v", page, block.Line, err)
		}
	}
	for _, command := range block.Commands() {
		if Excluded(page, command) != nil {
			continue
		}
		if err := sh.run(t.Context(), command); err != nil {
			t.Fatalf("%s:%d: %v", page, command.Line, err)
		}
	}
}

// directory returns a directory with links to the files of the repository.
func (r *Runner) directory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	entries, err := os.ReadDir(r.Root)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") || entry.Name() == "dist" { // commands write to dist
			continue
		}
		if err := os.Symlink(filepath.Join(r.Root, entry.Name()), filepath.Join(dir, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// save writes a file of a page to the working directory, but not to the repository.
func save(dir, name, text string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	if err := root.MkdirAll(filepath.Dir(filepath.FromSlash(name)), 0o700); err != nil {
		return err
	}
	return root.WriteFile(filepath.FromSlash(name), []byte(text), 0o600)
}
