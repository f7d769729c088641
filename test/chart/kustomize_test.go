// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"maps"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// The chart and kustomize install the same objects.
func TestChart_EqualsKustomize(t *testing.T) {
	t.Parallel()
	for dir, args := range map[string][]string{
		"config/default": nil,
		"config/prometheus": {
			"--set=serviceMonitor.enabled=true,prometheusRule.enabled=true,grafanaDashboard.enabled=true",
			"--show-only=templates/monitoring/service_monitors.yaml", "--show-only=templates/monitoring/prometheus_rule.yaml",
			"--show-only=templates/monitoring/dashboard.yaml",
		},
	} {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			chart := render(t, args...)
			expectEqual(t, kustomize(t.Context(), t, controlplanetest.Kubectl(t), filepath.Join(root(t), filepath.FromSlash(dir))), chart)
		})
	}
}

// expectEqual fails the test unless kustomize and the chart render the same objects.
func expectEqual(t *testing.T, kustomized, chart objects) {
	t.Helper()
	delete(kustomized, "Namespace /"+namespace) // helm creates the namespace
	maps.DeleteFunc(chart, isHook)
	for name := range maps.Keys(chart) {
		withoutHelm(t, name, chart[name])
	}
	for name := range maps.Keys(kustomized) {
		withoutImage(t, kustomized[name], false)
	}
	if diff := cmp.Diff(kustomized, chart); diff != "" {
		t.Errorf("the chart differs (-kustomize +chart):\n%s", diff)
	}
}

// isHook reports whether helm creates an object only for `helm test`.
func isHook(_ string, object *unstructured.Unstructured) bool {
	return object.GetAnnotations()["helm.sh/hook"] != ""
}

// withoutHelm removes from an object of the chart what kustomize does not set, and checks it.
func withoutHelm(t *testing.T, name string, object *unstructured.Unstructured) {
	t.Helper()
	labels := object.GetLabels()
	if labels["app.kubernetes.io/managed-by"] != "Helm" || labels["helm.sh/chart"] != "apikey-manager-0.1.0" {
		t.Errorf("%s has the labels %v", name, labels)
	}
	delete(labels, "app.kubernetes.io/managed-by")
	delete(labels, "helm.sh/chart")
	object.SetLabels(labels)
	if labels["app.kubernetes.io/component"] == "policy" { // `make undeploy` keeps the policies by their label
		annotations := object.GetAnnotations()
		if annotations["helm.sh/resource-policy"] != "keep" {
			t.Errorf("helm uninstall deletes %s", name)
		}
		if delete(annotations, "helm.sh/resource-policy"); len(annotations) == 0 {
			annotations = nil
		}
		object.SetAnnotations(annotations)
	}
	withoutImage(t, object, true)
}

// withoutImage removes the image of a Deployment.
func withoutImage(t *testing.T, object *unstructured.Unstructured, ofChart bool) {
	t.Helper()
	if object.GetKind() != "Deployment" {
		return
	}
	var without []any
	for _, container := range containers(t, object, "spec", "template", "spec") {
		if want := "ghcr.io/apikey-manager/" + container["name"].(string) + ":v0.1.0"; ofChart && container["image"] != want {
			t.Errorf("the image is %v, want %s", container["image"], want)
		}
		delete(container, "image")
		without = append(without, container)
	}
	if err := unstructured.SetNestedSlice(object.Object, without, "spec", "template", "spec", "containers"); err != nil {
		t.Fatal(err)
	}
}
