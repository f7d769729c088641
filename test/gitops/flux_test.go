// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gitops_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// fluxObjects returns the objects of the samples for Flux by kind and name, decoded strictly into the types of Flux.
func fluxObjects(t *testing.T, root string) map[string]client.Object {
	t.Helper()
	objects := map[string]client.Object{}
	files, err := filepath.Glob(sampleFile(root, "flux", "*.yaml"))
	controlplanetest.Must(t, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		controlplanetest.Must(t, err)
		for text := range strings.SplitSeq(string(data), "\n---\n") {
			var head unstructured.Unstructured
			controlplanetest.Must(t, yaml.Unmarshal([]byte(text), &head.Object))
			object := map[string]client.Object{
				"source.toolkit.fluxcd.io/v1 GitRepository":    &sourcev1.GitRepository{},
				"helm.toolkit.fluxcd.io/v2 HelmRelease":        &helmv2.HelmRelease{},
				"kustomize.toolkit.fluxcd.io/v1 Kustomization": &kustomizev1.Kustomization{},
			}[head.GetAPIVersion()+" "+head.GetKind()]
			if object == nil {
				t.Fatalf("%s: unknown kind %s %s", file, head.GetAPIVersion(), head.GetKind())
			}
			if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			objects[head.GetKind()+" "+head.GetName()] = object
		}
	}
	return objects
}

// TestFlux_SamplesAreConsistent checks that the samples for Flux are objects of Flux, refer to each other, and order the manager
// before the keys.
func TestFlux_SamplesAreConsistent(t *testing.T) {
	t.Parallel()
	root, err := controlplane.Root()
	controlplanetest.Must(t, err)
	objects := fluxObjects(t, root)
	for name, object := range objects {
		switch o := object.(type) {
		case *kustomizev1.Kustomization:
			if objects[o.Spec.SourceRef.Kind+" "+o.Spec.SourceRef.Name] == nil || !o.Spec.Wait {
				t.Errorf("%s: source %s, wait %t", name, o.Spec.SourceRef.Name, o.Spec.Wait)
			}
		case *helmv2.HelmRelease:
			ref := o.Spec.Chart.Spec.SourceRef
			if objects[ref.Kind+" "+ref.Name] == nil {
				t.Errorf("%s: there is no %s %s", name, ref.Kind, ref.Name)
			}
		}
	}
	keys, ok := objects["Kustomization keys"].(*kustomizev1.Kustomization)
	if !ok || len(keys.Spec.DependsOn) != 1 || objects["Kustomization "+keys.Spec.DependsOn[0].Name] == nil {
		t.Error("the keys do not depend on the manager")
	}
}

// healthExpressions holds the expressions of config/samples/gitops/flux, which Flux evaluates in this order.
type healthExpressions struct {
	kind       string
	statuses   []status.Status
	expression []cel.Program
}

func newHealthExpressions(t *testing.T, root string) healthExpressions {
	t.Helper()
	keys, ok := fluxObjects(t, root)["Kustomization keys"].(*kustomizev1.Kustomization)
	if !ok || len(keys.Spec.HealthCheckExprs) != 1 {
		t.Fatal("the Kustomization of the keys has no health check")
	}
	check := keys.Spec.HealthCheckExprs[0]
	env, err := cel.NewEnv(cel.Variable("metadata", cel.DynType), cel.Variable("spec", cel.DynType), cel.Variable("status", cel.DynType))
	controlplanetest.Must(t, err)
	compiled := healthExpressions{kind: check.Kind, statuses: []status.Status{status.InProgressStatus, status.FailedStatus, status.CurrentStatus}}
	for _, text := range []string{check.InProgress, check.Failed, check.Current} {
		ast, issues := env.Compile(text)
		controlplanetest.Must(t, issues.Err())
		program, err := env.Program(ast)
		controlplanetest.Must(t, err)
		compiled.expression = append(compiled.expression, program)
	}
	return compiled
}

// evaluate returns the status of an object by the expressions, or by kstatus if they are for another kind. An object without a
// field that an expression needs is InProgress.
func (h healthExpressions) evaluate(t *testing.T, object *unstructured.Unstructured) string {
	t.Helper()
	if object.GetKind() != h.kind {
		result, err := status.Compute(object)
		controlplanetest.Must(t, err)
		return result.Status.String()
	}
	for i, program := range h.expression {
		holds, _, err := program.Eval(map[string]any{
			"metadata": object.Object["metadata"], "spec": object.Object["spec"], "status": object.Object["status"],
		})
		if err != nil {
			return status.InProgressStatus.String()
		}
		if holds.Value() == true {
			return h.statuses[i].String()
		}
	}
	return status.InProgressStatus.String()
}
