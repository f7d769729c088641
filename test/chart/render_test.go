// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/tools"
)

const (
	release   = "apikey-manager"
	namespace = "apikey-manager-system"
)

// objects holds manifests by kind, namespace and name.
type objects map[string]*unstructured.Unstructured

// root returns the root folder of the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := controlplane.Root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// chartDir returns the folder of the chart.
func chartDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(root(t), "charts", "apikey-manager")
}

// helm runs helm without any configuration of the user, and returns its output.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), tools.Path(t, "helm"), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "KUBECONFIG=" + filepath.Join(home, "none")}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// render renders the chart with further arguments of `helm template`.
func render(t *testing.T, args ...string) objects {
	t.Helper()
	out, err := helm(t, slices.Concat([]string{"template", release, chartDir(t), "--namespace", namespace}, args)...)
	if err != nil {
		t.Fatalf("helm template %v: %v\n%s", args, err, out)
	}
	return parse(t, []byte(out))
}

// kustomize builds a kustomization with kubectl.
func kustomize(ctx context.Context, t *testing.T, kubectl, dir string) objects {
	t.Helper()
	var out, problem bytes.Buffer
	cmd := exec.CommandContext(ctx, kubectl, "kustomize", dir)
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		t.Fatalf("kubectl kustomize %s: %v\n%s", dir, err, problem.String())
	}
	return parse(t, out.Bytes())
}

// parse decodes manifests. It fails the test if two of them describe the same object.
func parse(t *testing.T, data []byte) objects {
	t.Helper()
	list := objects{}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if len(object.Object) == 0 {
			continue
		}
		name := fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())
		if list[name] != nil {
			t.Fatalf("%s is rendered twice", name)
		}
		list[name] = object
	}
}

// containers returns the containers of an object, whose pod is specified at a path.
func containers(t *testing.T, object *unstructured.Unstructured, path ...string) []map[string]any {
	t.Helper()
	list, found, err := unstructured.NestedSlice(object.Object, append(path, "containers")...)
	if err != nil || !found {
		t.Fatalf("%s has no containers: %v", object.GetName(), err)
	}
	var all []map[string]any
	for _, c := range list {
		all = append(all, c.(map[string]any)) //nolint:forcetypeassert // the test ends if it is not
	}
	return all
}
