// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command clidocs writes docs/kubectl-apikey.md from the commands in internal/cli.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	"github.com/apikey-manager/apikey-manager/internal/cli"
)

func main() {
	page := render(cli.NewCommand(genericiooptions.IOStreams{}, clock.RealClock{}))
	if err := os.WriteFile("docs/kubectl-apikey.md", []byte(page), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "clidocs:", err)
		os.Exit(1)
	}
}

// render returns the page of a command and its subcommands.
func render(root *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\nUse this page to look up a command of the kubectl plugin. `make docs` generates it from `internal/cli`. "+
		"All commands take\nthe flags of kubectl itself, such as `--context`, `--namespace` and `--as`.\n\n", root.CommandPath())
	writeBlock(&b, root.Long)
	b.WriteString("| command | what it does |\n| --- | --- |\n")
	var commands []*cobra.Command
	for _, cmd := range available(root) {
		for _, cmd := range append([]*cobra.Command{cmd}, available(cmd)...) {
			commands = append(commands, cmd)
			name := nameOf(cmd)
			fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", name, strings.ReplaceAll(name, " ", "-"), cmd.Short)
		}
	}
	b.WriteString("\n")
	for _, cmd := range commands {
		writeCommand(&b, cmd)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// available returns the subcommands of a command.
func available(parent *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(parent.Commands()), func(cmd *cobra.Command) bool { return !cmd.IsAvailableCommand() })
}

// nameOf returns the name of a command, after that of its parent if this is not the root.
func nameOf(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().CommandPath()+" ")
}

func writeCommand(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "## %s\n\n", nameOf(cmd))
	writeBlock(b, cmd.Long)
	if cmd.HasSubCommands() {
		return
	}
	writeBlock(b, cmd.UseLine()+"\n\n"+cmd.Example)
	if flags := cmd.LocalFlags().FlagUsages(); flags != "" {
		writeBlock(b, flags)
	}
}

// writeBlock writes a text as it is printed in a terminal.
func writeBlock(b *strings.Builder, text string) {
	if text = strings.Trim(text, "\n"); text != "" {
		fmt.Fprintf(b, "```text\n%s\n```\n\n", text)
	}
}
