// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestExplain_GoldenBundles plans for each testdata/*.in.yaml at the time in its first line, # now: TIME, and compares the
// result with the corresponding *.out.yaml.
func TestExplain_GoldenBundles(t *testing.T) {
	t.Parallel()
	bundles, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(bundles) == 0 {
		t.Fatalf("there are no bundles: %v", err)
	}
	for _, in := range bundles {
		t.Run(strings.TrimSuffix(filepath.Base(in), ".in.yaml"), func(t *testing.T) {
			t.Parallel()
			got := explained(t, in)
			golden := strings.TrimSuffix(in, ".in.yaml") + ".out.yaml"
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("the plan changed (-want +got); make golden rewrites it:\n%s", diff)
			}
			if key := regexp.MustCompile(`_[0-9A-Za-z]{43,}`).Find(got); key != nil {
				t.Errorf("the plan contains what looks like a key: %s", key)
			}
		})
	}
}

func explained(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(data), "\n")
	now, err := time.Parse(time.RFC3339, strings.TrimPrefix(first, "# now: "))
	if err != nil {
		t.Fatalf("the first line of %s must be # now: TIME: %v", file, err)
	}
	b, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := b.explain(&out, now); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
