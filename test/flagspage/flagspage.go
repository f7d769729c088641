// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package flagspage compares docs/flags.md with the flags of a program. With the flag -update of the test, it writes them there.
package flagspage

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

var update = flag.Bool("update", false, "write the flags of the program to docs/flags.md")

// Check compares the section of docs/flags.md that is named after a command with the command's flags.
func Check(t *testing.T, command *cobra.Command) {
	t.Helper()
	root, err := crd.Root()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "docs", "flags.md")
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, was, after, err := split(string(page), command.Name())
	if err != nil {
		t.Fatal(err)
	}
	is := section(command)
	switch {
	case is == was:
	case *update:
		if err := os.WriteFile(file, []byte(before+is+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("docs/flags.md is not up to date: run make docs (-page +program)\n%s", cmp.Diff(was, is))
	}
}

// split returns the section of a page that is named after a command, and what is before and after it.
func split(page, name string) (before, section, after string, err error) {
	heading := "\n## " + name + "\n"
	before, rest, ok := strings.Cut(page, heading)
	if !ok {
		return "", "", "", fmt.Errorf("docs/flags.md has no heading %q", strings.TrimSpace(heading))
	}
	if end := strings.Index(rest, "\n## "); end >= 0 {
		rest, after = rest[:end], rest[end:]
	}
	return before + heading, rest, after, nil
}

// section returns the text below the heading of a command.
func section(command *cobra.Command) string {
	var b strings.Builder
	b.WriteString("\n" + command.Long + "\n\n| flag | default | meaning |\n| --- | --- | --- |\n")
	command.Flags().VisitAll(func(f *pflag.Flag) { b.WriteString(row(f)) })
	return b.String()
}

func row(f *pflag.Flag) string {
	value, usage := pflag.UnquoteUsage(f)
	name := "--" + f.Name
	if value != "" {
		name += " " + value
	}
	return fmt.Sprintf("| `%s` | %s | %s |\n", name, defaultOf(f), escaper.Replace(strings.Join(strings.Fields(usage), " ")))
}

// escaper keeps characters of a description from being read as Markdown.
var escaper = strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`)

// defaultOf returns the default of a flag in backticks, or nothing if it has none.
func defaultOf(f *pflag.Flag) string {
	value := strings.TrimSuffix(strings.TrimPrefix(f.DefValue, "["), "]")
	if value == "" {
		return ""
	}
	return "`" + value + "`"
}
