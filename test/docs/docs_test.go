// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package docs_test checks that the documentation agrees with the code: its YAML is valid, every reason and field is
// documented, and every file, link, heading, identifier and make target that it names exists.
package docs_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/apikey-manager/apikey-manager/test/console"
	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// document is a parsed Markdown file.
type document struct {
	console.Page

	// text is the text outside of fenced blocks.
	text string
	// code lists the texts in backticks outside of fenced blocks.
	code []string
}

// repository holds the files that the tests check. It is read once.
type repository struct {
	root      string
	kinds     crd.Kinds
	documents map[string]document
}

var read = sync.OnceValues(func() (*repository, error) {
	root, err := crd.Root()
	if err != nil {
		return nil, err
	}
	kinds, err := crd.Load(root)
	if err != nil {
		return nil, err
	}
	repo := &repository{root: root, kinds: kinds, documents: map[string]document{}}
	files := []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "charts/apikey-manager/README.md"}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			name, _ := filepath.Rel(root, path)
			files = append(files, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, err
		}
		repo.documents[name] = takeApart(name, string(data))
	}
	return repo, nil
})

func open(t *testing.T) *repository {
	t.Helper()
	repo, err := read()
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

var inBackticks = regexp.MustCompile("`([^`]+)`")

func takeApart(name, text string) document {
	page := console.Parse(name, text)
	doc := document{Page: page, text: page.Prose}
	for _, match := range inBackticks.FindAllStringSubmatch(doc.text, -1) {
		doc.code = append(doc.code, strings.Join(strings.Fields(match[1]), " "))
	}
	return doc
}

func TestSpec_DocumentsEveryConditionAndReason(t *testing.T) {
	t.Parallel()
	repo := open(t)
	explained := map[string]bool{}
	for name, doc := range repo.documents {
		if strings.HasPrefix(name, "docs/spec/") {
			for _, code := range doc.code {
				explained[code] = true
			}
		}
	}
	constants := stringConstants(t, filepath.Join(repo.root, "api", "v1alpha1", "conditions.go"))
	found := 0
	for name, value := range constants {
		if !strings.HasPrefix(name, "Reason") && !strings.HasPrefix(name, "Condition") {
			continue
		}
		found++
		if !explained[value] {
			t.Errorf("no page of docs/spec has `%s`, which is %s", value, name)
		}
	}
	if found == 0 {
		t.Error("api/v1alpha1/conditions.go declares no Reason and no Condition")
	}
}

// stringConstants returns the constants of a Go file whose value is a string literal, by name.
func stringConstants(t *testing.T, file string) map[string]string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	constants := map[string]string{}
	ast.Inspect(parsed, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, value := range spec.Values {
			if literal, ok := value.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				text, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				constants[spec.Names[i].Name] = text
			}
		}
		return true
	})
	return constants
}

func TestSpec_DocumentsEveryField(t *testing.T) {
	t.Parallel()
	repo := open(t)
	pages := map[string]string{"APIKey": "docs/spec/apikey.md", "Account": "docs/spec/account.md", "KeyExport": "docs/spec/keyexport.md"}
	for kind, page := range pages {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			explained := map[string]bool{}
			for _, code := range repo.documents[page].code {
				code = strings.TrimPrefix(strings.TrimPrefix(code, "spec."), "status.")
				explained[strings.ReplaceAll(code, "[]", "")] = true
			}
			for _, part := range []string{"spec", "status"} {
				schema := repo.kinds[kind].Schema().Properties[part]
				for _, field := range fields("", &schema) {
					if !explained[field] {
						t.Errorf("%s does not have `%s`, a field of %s", page, field, part)
					}
				}
			}
		})
	}
}

// notOurs lists fields with types of Kubernetes, which are documented by Kubernetes.
var notOurs = []string{"conditions", "allowedNamespaces"}

// fields returns the names of all fields below a schema, with dots between parent and child.
func fields(path string, schema *apiextensionsv1.JSONSchemaProps) []string {
	if schema.Items != nil {
		return fields(path, schema.Items.Schema)
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		child := schema.Properties[name]
		full := strings.TrimPrefix(path+"."+name, ".")
		names = append(names, full)
		if !slices.Contains(notOurs, full) {
			names = append(names, fields(full, &child)...)
		}
	}
	return names
}

var separator = regexp.MustCompile(`(?m)^---\s*$`)

func TestYAML_IsValid(t *testing.T) {
	t.Parallel()
	repo := open(t)
	for name, doc := range repo.documents {
		for _, block := range doc.Blocks {
			if block.Language != "yaml" && block.Language != "yml" {
				continue
			}
			t.Run(name+":"+strconv.Itoa(block.Line), func(t *testing.T) {
				t.Parallel()
				for _, text := range separator.Split(block.Text, -1) {
					checkYAML(t, repo.kinds, text)
				}
			})
		}
	}
}

func checkYAML(t *testing.T, kinds crd.Kinds, text string) {
	t.Helper()
	obj, err := crd.Decode([]byte(text))
	if err != nil {
		t.Error(err)
		return
	}
	if version, _ := obj["apiVersion"].(string); !strings.HasPrefix(version, "apikey-manager.io/") {
		return
	}
	kind, err := kinds.For(obj)
	if err != nil {
		t.Error(err)
		return
	}
	_, errs := kind.Create(t.Context(), obj)
	for _, err := range errs {
		t.Error(err)
	}
}

// path matches a file or folder of this repository, relative to its root, optionally followed by a line number.
var path = regexp.MustCompile(`^((?:api|charts|cmd|config|controllers|docs|hack|internal|test)/[\w./*-]*)(?::\d+)?$`)

func TestPaths_Exist(t *testing.T) {
	t.Parallel()
	repo := open(t)
	for name, doc := range repo.documents {
		named := slices.Clone(doc.code)
		for _, command := range commands(doc) {
			named = append(named, strings.Fields(command)...)
		}
		for _, text := range named {
			match := path.FindStringSubmatch(text)
			if match == nil {
				continue
			}
			found, err := filepath.Glob(filepath.Join(repo.root, filepath.FromSlash(match[1])))
			if err != nil || len(found) == 0 {
				t.Errorf("%s names %s, which does not exist", name, match[1])
			}
		}
	}
}

// commands returns the lines of the shell blocks that a user types.
func commands(doc document) []string {
	var lines []string
	for _, command := range doc.Commands() {
		lines = append(lines, strings.Split(command.Text, "\n")...)
	}
	return lines
}

func TestDiagram_IsTheSameOnBothPages(t *testing.T) {
	t.Parallel()
	repo := open(t)
	var diagrams []string
	for _, name := range []string{"README.md", "docs/develop.md"} {
		for _, block := range repo.documents[name].Blocks {
			if block.Language == "mermaid" {
				diagrams = append(diagrams, block.Text)
			}
		}
	}
	if len(diagrams) != 2 || diagrams[0] != diagrams[1] {
		t.Errorf("README.md and docs/develop.md must begin with the same mermaid diagram, and have no other: %q", diagrams)
	}
}

// identifier matches an exported identifier of an internal package or of a reconciler.
var identifier = regexp.MustCompile(`^(?:(credential|keys|usage|verifier)\.)?([A-Z]\w+)$`)

func TestIdentifiers_AreDeclared(t *testing.T) {
	t.Parallel()
	repo := open(t)
	for name, doc := range repo.documents {
		for _, text := range doc.code {
			match := identifier.FindStringSubmatch(text)
			if match == nil || match[1] == "" && !strings.HasSuffix(text, "Reconciler") {
				continue
			}
			folder := filepath.Join(repo.root, "internal", match[1])
			if match[1] == "" {
				folder = filepath.Join(repo.root, "controllers")
			}
			if !declares(t, folder, match[2]) {
				t.Errorf("%s names %s, which is not declared", name, text)
			}
		}
	}
}

// declares reports whether a package declares an identifier.
func declares(t *testing.T, folder, name string) bool {
	t.Helper()
	declaration := regexp.MustCompile(`(?m)^(?:(?:func|type|var|const) |\t)` + name + `\b`)
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if declaration.Match(text) {
			return true
		}
	}
	return false
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinks_Resolve(t *testing.T) {
	t.Parallel()
	repo := open(t)
	for name, doc := range repo.documents {
		for _, match := range link.FindAllStringSubmatch(doc.text, -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			file := name
			if target != "" {
				file = filepath.ToSlash(filepath.Join(filepath.Dir(name), filepath.FromSlash(target)))
			}
			if _, err := os.Stat(filepath.Join(repo.root, filepath.FromSlash(file))); err != nil {
				t.Errorf("%s links to %s, which does not exist", name, match[1])
			}
			if page, ok := repo.documents[file]; ok && anchor != "" && !slices.Contains(anchors(page), anchor) {
				t.Errorf("%s links to %s, which is not a heading of %s", name, match[1], file)
			}
		}
	}
}

var (
	pageHeading  = regexp.MustCompile(`(?m)^#+ +(.+?) *$`)
	notInAnchors = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the fragments by which links refer to the headings of a page.
func anchors(doc document) []string {
	var list []string
	for _, match := range pageHeading.FindAllStringSubmatch(doc.text, -1) {
		text := notInAnchors.ReplaceAllString(strings.ToLower(match[1]), "")
		list = append(list, strings.ReplaceAll(text, " ", "-"))
	}
	return list
}

var (
	makeCommand = regexp.MustCompile(`^(?:[A-Z_]+=\S+ )*make ([a-z][\w-]*)`)
	makeRule    = regexp.MustCompile(`(?m)^([a-z][\w-]*)\s*:(?:[^=]|$)`)
)

func TestMakeTargets_Exist(t *testing.T) {
	t.Parallel()
	repo := open(t)
	targets := map[string]bool{}
	makefile, err := os.ReadFile(filepath.Join(repo.root, "Makefile"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, match := range makeRule.FindAllStringSubmatch(string(makefile), -1) {
		targets[match[1]] = true
	}
	for name, doc := range repo.documents {
		for _, text := range slices.Concat(doc.code, commands(doc)) {
			if match := makeCommand.FindStringSubmatch(text); match != nil && !targets[match[1]] {
				t.Errorf("%s names make %s, which the Makefile does not have", name, match[1])
			}
		}
	}
}
