// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"os"
	slashpath "path"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestNavigation_HasEachPageOnce checks that each page of docs/ has one place in the navigation of the website, and that README links
// to it or to its folder.
func TestNavigation_HasEachPageOnce(t *testing.T) {
	t.Parallel()
	repo := open(t)
	data, err := os.ReadFile(filepath.Join(repo.root, "hack", "site", "data", "navigation.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var groups []struct {
		Title string
		Pages []string
	}
	if err := yaml.UnmarshalStrict(data, &groups); err != nil {
		t.Fatal(err)
	}
	places := map[string]int{}
	for _, group := range groups {
		for _, entry := range group.Pages {
			places[entry]++
		}
	}
	for name, doc := range repo.documents {
		page, ok := strings.CutPrefix(name, "docs/")
		if !ok {
			continue
		}
		folder := slashpath.Dir(page) + "/"
		if n := places[page] + places[folder]; n != 1 {
			t.Errorf("%s has %d places in hack/site/data/navigation.yaml, want 1", name, n)
		}
		if base := slashpath.Base(page); places[folder] == 1 && base != "README.md" {
			checkLinked(t, repo, "docs/"+folder+"README.md", base)
			continue
		}
		checkLinked(t, repo, "README.md", doc.Name)
	}
	for entry := range places {
		if _, err := os.Stat(filepath.Join(repo.root, "docs", filepath.FromSlash(entry))); err != nil {
			t.Errorf("hack/site/data/navigation.yaml names %s, which docs does not have", entry)
		}
	}
}

// checkLinked checks that a page links to a file.
func checkLinked(t *testing.T, repo *repository, page, file string) {
	t.Helper()
	if !strings.Contains(repo.documents[page].Prose, "]("+file+")") {
		t.Errorf("%s does not link to %s", page, file)
	}
}
