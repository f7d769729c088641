// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const page = "# Page\n\n## First\n\n```console\n$ echo a \\\n    b\na b\n$ cat <<EOF\n> one\n> EOF\none\n```\n\n" +
	"## Second\n\n1. List:\n\n   ```sh\n   # a comment\n   name='a\n   b'\n   echo \"$name\"\n   ```\n\n```yaml\n# folder/key.yaml\nkind: APIKey\n```\n"

func TestParse(t *testing.T) {
	t.Parallel()
	parsed := Parse("page.md", page)
	want := []Command{
		{Line: 6, Text: "echo a \\\n    b", Output: "a b\n"},
		{Line: 9, Text: "cat <<EOF\none\nEOF", Output: "one\n"},
		{Line: 21, Text: "name='a\nb'"},
		{Line: 23, Text: `echo "$name"`},
	}
	if diff := cmp.Diff(want, parsed.Commands()); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	last := parsed.Blocks[len(parsed.Blocks)-1]
	if name, ok := last.File(); !ok || name != "folder/key.yaml" || last.Heading != "Second" {
		t.Errorf("the last block is file %q below %q", name, last.Heading)
	}
	if strings.Contains(parsed.Prose, "echo") || !strings.Contains(parsed.Prose, "1. List:") {
		t.Errorf("the prose is %q", parsed.Prose)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	const key = "ak_v1ReF6fIcrOF_BA1LkTz3LUYUqBNgYcsVOYI7jNFGFTXMFKwHsNmjTYn3ierx1"
	for name, tc := range map[string]struct {
		want, got string
		differs   bool
	}{
		"equal":                              {want: "a b\n", got: "a b\n"},
		"other white space":                  {want: "NAME  READY", got: "  NAME      READY "},
		"a further line":                     {want: "a\nc", got: "a\nb\nc"},
		"lines in another order":             {want: "a\nb", got: "b\na", differs: true},
		"a missing line":                     {want: "a\nb", got: "a", differs: true},
		"no output":                          {want: "a", got: "", differs: true},
		"another word":                       {want: "Ready=True Active", got: "Ready=True Inactive", differs: true},
		"more in the line":                   {want: "Ready=True", got: "Ready=True Active", differs: true},
		"another key":                        {want: key, got: strings.ReplaceAll(key, "1", "2")},
		"a hint for a key":                   {want: key, got: "ak_v1ReF6fIcrOF", differs: true},
		"another hint, instant and age":      {want: "Previous ak_zwQ3FzDSxuPJ 2026-11-22T14:35:56Z 3s", got: "Previous ak_aaaaaaaaaaaa 2027-01-01T00:00:00Z 1m4s"},
		"no instant":                         {want: "Previous 2026-11-22T14:35:56Z", got: "Previous <none>", differs: true},
		"another key ID in JSON":             {want: `"keyID":"BX1ynP8cHDsj"}`, got: `"keyID":"000000000000"}`},
		"another word of twelve letters":     {want: "conversions1", got: "conversions2", differs: true},
		"an ellipsis":                        {want: "Waiting for ... to be written", got: "Waiting for Secret a to be written"},
		"an ellipsis, and another beginning": {want: "Waiting for ...", got: "Not waiting for it", differs: true},
		"special characters":                 {want: "a.b*(c)", got: "aXb*(c)", differs: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := compare(tc.want, tc.got); (err != nil) != tc.differs {
				t.Errorf("compare returns %v", err)
			}
		})
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	const key = "acme_v1ReF6fIcrOF_BA1LkTz3LUYUqBNgYcsVOYI7jNFGFTXMFKwHsNmjTYn3ierx1"
	if got := redact("the key " + key + "."); got != "the key acme_v1ReF6fIcrOF_[redacted]." {
		t.Errorf("redact returns %q", got)
	}
}

func TestShell(t *testing.T) {
	t.Parallel()
	sh, err := startShell(t.TempDir(), append(os.Environ(), "GREETING=hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer sh.stop()
	for _, tc := range []struct {
		name    string
		command Command
		problem string
	}{
		{"a variable of the environment", Command{Text: "echo $GREETING", Output: "hello"}, ""},
		{"an assignment", Command{Text: "name=$(printf shop)"}, ""},
		{"a variable of an earlier command", Command{Text: "printf $name", Output: "shop"}, ""},
		{"standard error", Command{Text: "echo oops >&2", Output: "oops"}, ""},
		{"another output", Command{Text: "echo a", Output: "b"}, "does not have the line"},
		{"an unexpected failure", Command{Text: "false"}, "the command fails: false"},
		{"a failure in a pipe", Command{Text: "false | cat"}, "the command fails: false"},
		{"a failure that the page shows", Command{Text: "echo Error from server; false", Output: "Error from server"}, ""},
		{"a failure that does not happen", Command{Text: "echo Error from server", Output: "Error from server"}, "the command fails: true"},
		{"a syntax error", Command{Text: "echo )"}, "syntax error"},
		{"no standard input", Command{Text: "cat"}, ""},
		{"a here-document", Command{Text: "cat <<EOF\n$name\nEOF", Output: "shop"}, ""},
		{"another directory", Command{Text: "cd /"}, ""},
		{"the directory of an earlier command", Command{Text: "pwd", Output: "/"}, ""},
	} {
		err := sh.run(t.Context(), tc.command)
		if tc.problem == "" && err != nil || tc.problem != "" && (err == nil || !strings.Contains(err.Error(), tc.problem)) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.problem)
		}
	}
}

func TestRunner(t *testing.T) {
	t.Parallel()
	root, prepared := t.TempDir(), 0
	for name, text := range map[string]string{"page.md": page + "```console\n$ cat folder/key.yaml data\nkind: APIKey\nfrom the repository\n```\n", "data": "from the repository\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runner := Runner{Root: root, Before: map[string]func(*testing.T){"Second": func(*testing.T) { prepared++ }}}
	runner.Run(t, "page.md")
	if prepared != 1 {
		t.Errorf("the heading was prepared %d times", prepared)
	}
	if _, err := os.Stat(filepath.Join(root, "folder")); err == nil {
		t.Error("the runner wrote to the repository")
	}
}

func TestSave_NotToRepository(t *testing.T) {
	t.Parallel()
	dir, repository := t.TempDir(), t.TempDir()
	if err := os.Symlink(repository, filepath.Join(dir, "config")); err != nil {
		t.Fatal(err)
	}
	if err := save(dir, "config/key.yaml", "kind: APIKey\n"); err == nil {
		t.Error("a file was written through a link to the repository")
	}
}
