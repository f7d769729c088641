// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGolden renders the chart with each testdata/*.values.yaml. The golden file contains the objects that differ from those of the
// default values, and names those that are missing.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "*.values.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no values to render: %v", err)
	}
	byDefault := render(t)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			got := differences(t, byDefault, render(t, "--values", file))
			golden := strings.TrimSuffix(file, "values.yaml") + "golden.yaml"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

// differences returns the objects of got that base has not, and the names of those that only base has.
func differences(t *testing.T, base, got objects) []byte {
	t.Helper()
	b := bytes.NewBufferString("# SPDX-FileCopyrightText: The apikey-manager Authors\n# SPDX-License-Identifier: Apache-2.0\n\n")
	for _, name := range slices.Sorted(maps.Keys(base)) {
		if got[name] == nil {
			fmt.Fprintf(b, "# not rendered: %s\n", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if base[name] != nil && cmp.Equal(base[name], got[name]) {
			continue
		}
		text, err := yaml.Marshal(got[name])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(b, "---\n%s", text)
	}
	return b.Bytes()
}

func TestLint(t *testing.T) {
	t.Parallel()
	if out, err := helm(t, "lint", "--strict", chartDir(t)); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The chart of a release must not depend on files outside its folder.
func TestPackage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := helm(t, "package", chartDir(t), "--version=1.2.3", "--app-version=v1.2.3", "--destination", dir); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := helm(t, "template", release, filepath.Join(dir, "apikey-manager-1.2.3.tgz"), "--namespace", namespace)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	packaged := parse(t, []byte(out))
	if len(packaged) != len(render(t)) || !strings.Contains(out, "image: ghcr.io/apikey-manager/manager:v1.2.3\n") {
		t.Errorf("the archive renders %d objects:\n%s", len(packaged), out)
	}
}

// Without crds.keep nothing may pretend to keep the CRDs.
func TestCRDs_NotKept(t *testing.T) {
	t.Parallel()
	for name, object := range render(t, "--set=crds.keep=false", "--show-only=templates/crds.yaml") {
		if got := slices.Sorted(maps.Keys(object.GetAnnotations())); !slices.Equal(got, []string{"controller-gen.kubebuilder.io/version"}) {
			t.Errorf("%s has the annotations %v", name, got)
		}
	}
}

func TestCommonLabels(t *testing.T) {
	t.Parallel()
	for name, object := range render(t, "--values", filepath.Join("testdata", "monitoring.values.yaml"),
		"--values", filepath.Join("testdata", "tls-cert-manager.values.yaml"), "--set=grafanaDashboard.enabled=true",
		"--set=commonLabels.team=platform,commonAnnotations.contact=platform@example.com") {
		if object.GetLabels()["team"] != "platform" || object.GetAnnotations()["contact"] != "platform@example.com" {
			t.Errorf("%s has the labels %v and the annotations %v", name, object.GetLabels(), object.GetAnnotations())
		}
	}
}
