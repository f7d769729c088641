// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/yaml"
	kyaml "sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

func TestRunSteps(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		commands []command
		want     string // in what is printed
		wantErr  string // in the error; empty: none
	}{
		"prints a command and its output": {
			commands: []command{{line: "echo one; echo two >&2", check: contains("one", "two"), note: "A note."}},
			want:     "\n  $ echo one; echo two >&2\n  one\n  two\n\n  A note.\n",
		},
		"fails if the output lacks a word": {
			commands: []command{{line: "echo one", check: contains("two")}},
			want:     "  one\n",
			wantErr:  `step 1 of 1, "A step", failed: expected the output to contain "two"`,
		},
		"fails if the output has a word that it must not have": {
			commands: []command{{line: "echo one", check: lacks("two")}, {line: "echo two", check: lacks("one", "two")}},
			want:     "  one\n",
			wantErr:  `step 1 of 1, "A step", failed: expected the output not to contain "two"`,
		},
		"fails if the command fails": {
			commands: []command{{line: "echo why; false"}},
			want:     "  why\n",
			wantErr:  "expected the command to succeed: exit status 1",
		},
		"accepts a command that must fail": {
			commands: []command{{line: "echo denied; false", fails: true, check: contains("denied")}},
		},
		"fails if a command that must fail succeeds": {
			commands: []command{{line: "echo created", fails: true}},
			wantErr:  "expected the command to fail: it succeeded",
		},
		"retries and prints the last output only": {
			commands: []command{{line: "echo x >> tries; wc -l < tries", retry: true, check: matches(` *3`)}},
			want:     "  $ echo x >> tries; wc -l < tries\n  3\n",
		},
		"prints the lines of a watch and stops at the expected one": {
			commands: []command{{line: "echo NAME; echo Active; echo Expired; sleep 60", until: "Expired"}},
			want:     "  Expired\n",
		},
		"fails if a watch ends without the expected line": {
			commands: []command{{line: "echo Active", until: "Expired"}},
			wantErr:  `expected to see "Expired"`,
		},
		"sameAs accepts equal output": {
			commands: []command{{line: "printf key", check: save("key")}, {line: "printf key", check: sameAs("key")}},
		},
		"sameAs rejects different output": {
			commands: []command{{line: "printf key", check: save("key")}, {line: "printf kez", check: sameAs("key")}},
			wantErr:  `expected the same output as for "key"`,
		},
		"differsFrom rejects equal output": {
			commands: []command{{line: "printf key", check: save("key")}, {line: "printf key", check: differsFrom("key")}},
			wantErr:  `expected another output than for "key"`,
		},
		"differsFrom rejects an output that was not saved": {
			commands: []command{{line: "printf key", check: differsFrom("key")}},
			wantErr:  "expected another output",
		},
		"onTime rejects a line that comes too early": {
			commands: []command{{line: "echo {soon}", until: "T", check: onTime(time.Second)}},
			wantErr:  "expected it at",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			r := &runner{out: &out, dir: t.TempDir(), environment: os.Environ()}
			err := r.runSteps(t.Context(), []step{{title: "A step", commands: tc.commands}})
			if !strings.Contains(out.String(), tc.want) {
				t.Errorf("printed:\n%s\nwant in it:\n%s", out.String(), tc.want)
			}
			if (err == nil) != (tc.wantErr == "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("got error %v, want %q", err, tc.wantErr)
			}
		})
	}
}

func TestRunCommand_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]command{
		"a command":      {line: "sleep 60"},
		"a repeated one": {line: "false", retry: true},
		"a watch":        {line: "sleep 60", until: "never"},
		"with children":  {line: "sleep 60 & sleep 60"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			began := time.Now()
			r := &runner{out: &strings.Builder{}, dir: t.TempDir(), environment: os.Environ()}
			if err := r.runCommand(ctx, c); err == nil {
				t.Error("got no error")
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s to end", took)
			}
		})
	}
}

func TestOnTime(t *testing.T) {
	t.Parallel()
	soon := time.Date(2027, 2, 28, 12, 0, 10, 0, time.UTC)
	for late, ok := range map[time.Duration]bool{
		-time.Millisecond: false, 0: true, time.Second: true, time.Second + time.Millisecond: false,
	} {
		r := &runner{out: &strings.Builder{}, soon: soon}
		if err := onTime(time.Second)(r, output{at: soon.Add(late)}); (err == nil) != ok {
			t.Errorf("%s after the instant: got %v", late, err)
		}
	}
}

// TestScenario_AppliesValidFiles checks that each file that the scenario applies exists and has no unknown fields.
func TestScenario_AppliesValidFiles(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile(`apply -[fk] (\S+)`)
	for _, s := range append(slices.Clone(scenario), limits) {
		for _, c := range s.commands {
			for _, match := range named.FindAllStringSubmatch(c.line, -1) {
				path := filepath.Join("..", "..", match[1])
				if info, err := os.Stat(path); err != nil {
					t.Error(err)
				} else if !info.IsDir() {
					strictKeys(t, path)
				}
			}
		}
	}
}

func strictKeys(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	documents := yaml.NewDocumentDecoder(file)
	defer func() { _ = documents.Close() }()
	content := make([]byte, 1<<16)
	for n, err := documents.Read(content); n > 0; n, err = documents.Read(content) {
		if err != nil {
			t.Fatal(err)
		}
		var object any = &v1alpha1.APIKey{}
		if strings.Contains(string(content[:n]), "kind: Account\n") {
			object = &v1alpha1.Account{}
		}
		if err := kyaml.UnmarshalStrict(content[:n], object); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
