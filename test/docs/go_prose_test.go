// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// vagueComment matches what a comment must not say: predicates report whether, and the actor has a name.
	vagueComment = regexp.MustCompile(`(?i)\b(?:(?:is|are) whether|nobody|somebody|anybody|whoever|unless said)\b`)
	// retiredNames lists identifiers that gave way to standard terms.
	retiredNames = strings.Fields(`
		AnnounceMail Announcements Asker Contents Door DoorOptions Doubts EmptySecret Enforceable EnforcementOf Entitled Face
		FeedOptions Finder Happenings Held HeldForeign HeldLeftover HeldNothing HeldOwned MendSecret Minted Possession
		PossessionOf Refusal Remembered ReplaceMaterial ShapeDigest SettleMail Teller
		enveloped envoyAnswers gaveBack inquiry keepSlots needsAPerson orElse renameSlots resaid standing unsaid voice`)
)

// TestGoProse_IsPlain checks the comments and the declared names of all Go files.
func TestGoProse_IsPlain(t *testing.T) {
	t.Parallel()
	retired := map[string]bool{}
	for _, name := range retiredNames {
		retired[name] = true
	}
	root, files := open(t).root, token.NewFileSet()
	checked := 0
	for _, path := range goFiles(t, root) {
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		checked++
		for _, group := range file.Comments {
			text := strings.ReplaceAll(group.Text(), "\n", " ")
			if found := vagueComment.FindString(text); found != "" && filepath.Base(path) != "go_prose_test.go" {
				t.Errorf("%s: the comment says %q: write \"reports whether\", or name the actor", files.Position(group.Pos()), found)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if name := declared(n); name != nil && retired[name.Name] {
				t.Errorf("%s: %s is a retired name: see docs/glossary.md for the standard terms", files.Position(name.Pos()), name.Name)
			}
			return true
		})
	}
	if checked < 100 {
		t.Errorf("found only %d Go files", checked)
	}
}

// declared returns the name that a node declares at the top level of a file, or nil.
func declared(n ast.Node) *ast.Ident {
	switch n := n.(type) {
	case *ast.FuncDecl:
		return n.Name
	case *ast.TypeSpec:
		return n.Name
	}
	return nil
}

// goFiles returns the paths of the project's Go files.
func goFiles(t *testing.T, root string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "bin" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			list = append(list, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
