// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package flagspage

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestSection(t *testing.T) {
	t.Parallel()
	command := &cobra.Command{Use: "program", Long: "program does it."}
	command.Flags().String("address", ":8080", "`address` of a|b,\n  or none")
	command.Flags().StringSlice("names", []string{"a", "b"}, "names")
	command.Flags().Bool("loud", false, "be loud")
	command.Flags().String("file", "", "`file` to read")
	want := "\nprogram does it.\n\n| flag | default | meaning |\n| --- | --- | --- |\n" +
		"| `--address address` | `:8080` | address of a\\|b, or none |\n" +
		"| `--file file` |  | file to read |\n" +
		"| `--loud` | `false` | be loud |\n" +
		"| `--names strings` | `a,b` | names |\n"
	if diff := cmp.Diff(want, section(command)); diff != "" {
		t.Errorf("section (-want +got):\n%s", diff)
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	const page = "# Flags\n\n## manager\n\nold\n\n## verifier\n\nother\n"
	for name, want := range map[string][3]string{
		"manager":  {"# Flags\n\n## manager\n", "\nold\n", "\n## verifier\n\nother\n"},
		"verifier": {"# Flags\n\n## manager\n\nold\n\n## verifier\n", "\nother\n", ""},
	} {
		before, section, after, err := split(page, name)
		if diff := cmp.Diff(want, [3]string{before, section, after}); err != nil || diff != "" {
			t.Errorf("%s: error %v (-want +got):\n%s", name, err, diff)
		}
	}
	if _, _, _, err := split(page, "plugin"); err == nil || !strings.Contains(err.Error(), `"## plugin"`) {
		t.Errorf("split returns error %v for a missing heading", err)
	}
}
