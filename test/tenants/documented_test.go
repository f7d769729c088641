// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package tenants_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// page is the document with the outcomes, in the table whose first column has this heading.
const (
	page    = "docs/access.md"
	heading = "What comes about through keys"
)

// documentedOutcomes returns the roles that can cause each outcome, by the name of the outcome. A cell of the table states
// whether the roles at the head of its column can, always ("yes") or with the right to use the account ("with `use`").
func documentedOutcomes(t *testing.T, root string) map[string][]string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(page)))
	if err != nil {
		t.Fatal(err)
	}
	var heads []string
	documented := map[string][]string{}
	for line := range strings.SplitSeq(string(content), "\n") {
		row := cells(line)
		switch {
		case len(row) > 0 && row[0] == heading:
			heads = row
		case len(row) == 0:
			heads = nil
		case heads != nil && !strings.HasPrefix(row[0], "---"):
			documented[row[0]] = rolesAllowed(t, heads, row)
		}
	}
	if len(documented) == 0 {
		t.Fatalf("%s has no table headed %q", page, heading)
	}
	return documented
}

// cells returns the cells of a table row, or nil if the line is not a row.
func cells(line string) []string {
	if !strings.HasPrefix(line, "|") {
		return nil
	}
	var row []string
	for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
		row = append(row, strings.ReplaceAll(strings.TrimSpace(cell), "`", ""))
	}
	return row
}

func rolesAllowed(t *testing.T, heads, row []string) []string {
	t.Helper()
	var who []string
	for i, cell := range row[1:] {
		for role := range strings.SplitSeq(heads[i+1], ", ") {
			switch cell {
			case "":
			case "yes":
				who = append(who, role, role+" with use")
			case "with use":
				who = append(who, role+" with use")
			default:
				t.Fatalf("%s: row %q has %q: give yes, with `use` or nothing", page, row[0], cell)
			}
		}
	}
	return who
}
