// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// TestSamples_HaveConsumers checks that a consumer reads each sample.
func TestSamples_HaveConsumers(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join(root(t), "config", "samples", "exports", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, path := range paths {
		files = append(files, filepath.Base(path))
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(consumers)), files); diff != "" {
		t.Errorf("consumers and samples differ (-consumers +samples):\n%s", diff)
	}
}

// TestSamples_AreAccepted checks the KeyExports of the samples as an API server does.
func TestSamples_AreAccepted(t *testing.T) {
	t.Parallel()
	kinds, err := crd.Load(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for file := range consumers {
		s := readSample(t, file)
		kind, err := kinds.For(s.export)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if _, errs := kind.Create(t.Context(), s.export); len(errs) > 0 {
			t.Errorf("%s: %v", file, errs.ToAggregate())
		}
		metadata, _ := s.export["metadata"].(crd.Object)
		for kind := range s.resources {
			if metadata["namespace"] != namespace || s.text(kind, "metadata", "namespace") != namespace {
				t.Errorf("%s: %s and the KeyExport are not in namespace %s", file, kind, namespace)
			}
		}
	}
}

// TestSamples_SayWhatGatewaysLearn checks that the first lines of each sample say what the gateway learns, and that samples with keys in
// plain text say what accounts must allow.
func TestSamples_SayWhatGatewaysLearn(t *testing.T) {
	t.Parallel()
	for file := range consumers {
		s := readSample(t, file)
		_, comment, _ := strings.Cut(s.source, "\n\n")
		first, _, _ := strings.Cut(comment, "\n#\n")
		for _, said := range []string{" learns ", "ipWhitelist", "Nothing is withdrawn while no manager runs"} {
			if !strings.Contains(strings.Join(strings.Fields(strings.ReplaceAll(first, "\n#", " ")), " "), strings.TrimSpace(said)) {
				t.Errorf("%s: the first lines do not say %q", file, said)
			}
		}
		spec, _ := s.export["spec"].(crd.Object)
		if spec["content"] == "Key" && !strings.Contains(comment, "exportPolicy: Key") {
			t.Errorf("%s does not say that accounts must have exportPolicy: Key", file)
		}
	}
}
