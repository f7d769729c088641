// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Page is a parsed Markdown file.
type Page struct {
	// Name is the path of the file, relative to the root of the repository.
	Name string
	// Prose is the text outside of fenced blocks.
	Prose  string
	Blocks []Block
}

// Block is a fenced block of a page.
type Block struct {
	// Heading is the last heading above the block.
	Heading        string
	Line           int
	Language, Text string
}

// Command is a command of a page, with the output that the page shows.
type Command struct {
	Line         int
	Text, Output string
}

// Read reads a page of the repository.
func Read(root, name string) (Page, error) {
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	return Parse(name, string(text)), err
}

var (
	fence   = regexp.MustCompile("^(\\s*)```(\\w*)")
	heading = regexp.MustCompile(`^#+ +(.+?) *$`)
)

// Parse parses a page.
func Parse(name, text string) Page {
	page := Page{Name: name}
	var prose strings.Builder
	var current *Block
	var indent, title string
	for i, line := range strings.Split(text, "\n") {
		match := fence.FindStringSubmatch(line)
		switch {
		case match != nil && current == nil:
			indent, current = match[1], &Block{Heading: title, Line: i + 1, Language: match[2]}
		case match != nil:
			page.Blocks = append(page.Blocks, *current)
			current = nil
		case current != nil:
			current.Text += strings.TrimPrefix(line, indent) + "\n"
		default:
			if found := heading.FindStringSubmatch(line); found != nil {
				title = found[1]
			}
			prose.WriteString(line + "\n")
		}
	}
	page.Prose = prose.String()
	return page
}

// Commands returns the commands of a page, in order.
func (p Page) Commands() []Command {
	var list []Command
	for _, block := range p.Blocks {
		list = append(list, block.Commands()...)
	}
	return list
}

// Commands returns the commands of a block. A block of another language than sh and console has none.
func (b Block) Commands() []Command {
	var list []Command
	lines := strings.Split(strings.TrimSuffix(b.Text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		text, typed := b.typed(lines[i])
		if !typed {
			if len(list) > 0 && b.Language == "console" {
				list[len(list)-1].Output += lines[i] + "\n"
			}
			continue
		}
		command := Command{Line: b.Line + i + 1, Text: text}
		for incomplete(command.Text) && i+1 < len(lines) {
			i++
			command.Text += "\n" + strings.TrimPrefix(lines[i], "> ")
		}
		list = append(list, command)
	}
	return list
}

// typed returns the command that begins in a line, and whether one does.
func (b Block) typed(line string) (string, bool) {
	switch {
	case b.Language == "console":
		return strings.CutPrefix(line, "$ ")
	case slices.Contains([]string{"sh", "bash", "shell"}, b.Language):
		return line, strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#")
	}
	return "", false
}

var hereDocument = regexp.MustCompile(`<<-?\s*['"]?(\w+)['"]?`)

// incomplete reports whether a command continues in the next line: after a backslash, within quotes or a here-document.
func incomplete(text string) bool {
	if match := hereDocument.FindStringSubmatch(text); match != nil {
		return !strings.HasSuffix(text, "\n"+match[1])
	}
	return strings.HasSuffix(text, `\`) || strings.Count(text, "'")%2 == 1
}

var fileName = regexp.MustCompile(`^(?:#|--|//) ([\w./-]+\.\w+)$`)

// File returns the name of the file to which a user saves the block, if its first line is a comment with one.
func (b Block) File() (name string, ok bool) {
	first, _, _ := strings.Cut(b.Text, "\n")
	match := fileName.FindStringSubmatch(first)
	if match == nil || len(b.Commands()) > 0 {
		return "", false
	}
	return match[1], true
}
