// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package site_test builds the website of the documentation, and checks that all its links lead somewhere and that it works without a
// server and without a connection to the internet.
package site_test

import (
	"encoding/json"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
	"github.com/apikey-manager/apikey-manager/test/tools"
)

// page is a page of the website.
type page struct {
	anchors map[string]bool
	// links lists the targets of links, and loads those of scripts, styles and images.
	links, loads []string
}

// site holds the pages of the website by their path, and the paths of its other files.
type site struct {
	pages map[string]page
	files map[string]bool
}

func TestSite(t *testing.T) {
	t.Parallel()
	root, err := crd.Root()
	if err != nil {
		t.Fatal(err)
	}
	folder := build(t, root)
	s := read(t, folder)
	t.Run("has each page", func(t *testing.T) { s.checkPages(t, root) })
	t.Run("links resolve", s.checkLinks)
	t.Run("loads only its own files", s.checkLoads)
	t.Run("search finds each page", func(t *testing.T) { s.checkSearch(t, folder) })
}

// build builds the website and returns its folder.
func build(t *testing.T, root string) string {
	t.Helper()
	folder := t.TempDir()
	hugo := exec.CommandContext(t.Context(), tools.Path(t, "hugo"), "--source", filepath.Join(root, "hack", "site"),
		"--destination", folder, "--noBuildLock", "--quiet", "--panicOnWarning")
	if out, err := hugo.CombinedOutput(); err != nil {
		t.Fatalf("hugo: %v\n%s", err, out)
	}
	return folder
}

func read(t *testing.T, folder string) site {
	t.Helper()
	s := site{pages: map[string]page{}, files: map[string]bool{}}
	err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		s.files[name] = true
		if path.Ext(name) == ".html" {
			s.pages[name] = parse(t, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parse(t *testing.T, file string) page {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	document, err := html.Parse(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	p := page{anchors: map[string]bool{"": true}}
	for node := range document.Descendants() {
		if node.Type == html.ElementNode {
			p.add(node)
		}
	}
	return p
}

// add adds the anchor, the link or the file of an element.
func (p *page) add(element *html.Node) {
	for _, attribute := range element.Attr {
		switch {
		case attribute.Key == "id":
			p.anchors[attribute.Val] = true
		case attribute.Key == "href" && element.Data == "a":
			p.links = append(p.links, attribute.Val)
		case attribute.Key == "href", attribute.Key == "src":
			p.loads = append(p.loads, attribute.Val)
		}
	}
}

// checkPages checks that each page of docs/ is a page of the website.
func (s site) checkPages(t *testing.T, root string) {
	docs := os.DirFS(filepath.Join(root, "docs"))
	count := 0
	err := fs.WalkDir(docs, ".", func(name string, _ fs.DirEntry, err error) error {
		if want := strings.TrimSuffix(name, ".md") + ".html"; err == nil && path.Ext(name) == ".md" {
			count++
			if _, ok := s.pages[want]; !ok {
				t.Errorf("the website does not have docs/%s", name)
			}
		}
		return err
	})
	if err != nil || count == 0 {
		t.Errorf("found %d pages in docs: %v", count, err)
	}
	if _, ok := s.pages["index.html"]; !ok || len(s.pages) != count+1 {
		t.Errorf("the website has %d pages, want index.html and the %d of docs", len(s.pages), count)
	}
}

// checkLinks checks that each link leads to another website, or to a page of this one and a heading there. A link to a folder would
// not work without a server.
func (s site) checkLinks(t *testing.T) {
	for name, p := range s.pages {
		for _, link := range p.links {
			target, err := url.Parse(link)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if target.Scheme != "" {
				continue
			}
			to := name
			if target.Path != "" {
				to = path.Join(path.Dir(name), target.Path)
			}
			found, ok := s.pages[to]
			if !ok || strings.HasPrefix(link, "/") {
				t.Errorf("%s links to %s, which is not a page of the website", name, link)
			} else if !found.anchors[target.Fragment] {
				t.Errorf("%s links to %s, which is not a heading there", name, link)
			}
		}
	}
}

// checkLoads checks that the scripts and styles of each page are files of the website.
func (s site) checkLoads(t *testing.T) {
	for name, p := range s.pages {
		for _, file := range p.loads {
			if !s.files[path.Join(path.Dir(name), file)] || strings.HasPrefix(file, "/") {
				t.Errorf("%s loads %s, which is not a file of the website", name, file)
			}
		}
		if len(p.loads) < 3 {
			t.Errorf("%s loads only %q, want a style, the search and its index", name, p.loads)
		}
	}
}

// checkSearch checks that the index of the search has the title and the text of each page.
func (s site) checkSearch(t *testing.T, folder string) {
	text, err := os.ReadFile(filepath.Join(folder, "search-index.js"))
	if err != nil {
		t.Fatal(err)
	}
	list, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "window.searchIndex = ")
	var index []struct{ URL, Title, Text string }
	if err := json.Unmarshal([]byte(strings.TrimSuffix(list, ";")), &index); err != nil || !ok {
		t.Fatalf("search-index.js cannot be read: %v", err)
	}
	found := map[string]bool{}
	for _, entry := range index {
		found[entry.URL] = entry.Title != "" && len(entry.Text) > 200
	}
	for name := range s.pages {
		if name != "index.html" && !found[name] {
			t.Errorf("the index does not have the title and the text of %s", name)
		}
	}
}
