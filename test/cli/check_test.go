// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// checks returns the status of each check, and the text of those that did not pass.
func (r result) checks(t *testing.T) map[string]string {
	t.Helper()
	var list []struct{ Name, Status, Detail, Action string }
	if err := json.Unmarshal([]byte(r.out), &list); err != nil {
		t.Fatalf("%v: %s%s", err, r.out, r.errOut)
	}
	statuses := map[string]string{}
	for _, c := range list {
		statuses[c.Name] = c.Status
		if c.Status != "ok" {
			statuses[c.Name] = c.Status + ": " + c.Detail
		}
	}
	return statuses
}

// newDeployment returns a Deployment of two replicas.
func newDeployment(namespace, name, image string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image}}},
			},
		},
	}
}

// deployment creates a Deployment with a number of ready replicas. Nothing runs pods in these tests.
func (w *suite) deployment(t *testing.T, name, image string, ready int32) *appsv1.Deployment {
	t.Helper()
	d := newDeployment(w.Plane.Namespace(), name, image)
	w.Create(t, d)
	w.setReady(t, d, ready)
	return d
}

func (w *suite) setReady(t *testing.T, d *appsv1.Deployment, ready int32) {
	t.Helper()
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: ready}
	controlplanetest.Must(t, w.Admin.Status().Update(t.Context(), d))
}

func TestCheck(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	url := "--url=http://" + w.verifiers.With(t).HTTP
	w.deployment(t, "apikey-manager", "registry.example/manager:v0.1.0@sha256:"+strings.Repeat("0", 64), 2)
	verifier := w.deployment(t, "apikey-verifier", "registry.example:5000/verifier:v0.1.0", 1)

	first := w.run(t, "", "check", url, "-o", "json")
	if got := first.checks(t); first.code != 1 || len(got) != 12 || got["verifier"] != "failed: 1 of 2 replicas ready" {
		t.Errorf("code %d, %v", first.code, got)
	}
	if first = w.run(t, "", "check", url); !strings.Contains(first.out, "\nverifier: kubectl get pods -n "+w.Plane.Namespace()) {
		t.Errorf("got %s", first.out)
	}
	done := make(chan result, 1)
	go func() { done <- w.run(t, "", "check", url, "-o", "json", "--wait=1m") }()
	w.setReady(t, verifier, 2)
	last := <-done
	for name, status := range last.checks(t) {
		if status != "ok" {
			t.Errorf("%s is %s", name, status)
		}
	}
	if last.code != 0 {
		t.Errorf("code %d: %s", last.code, last.errOut)
	}

	version := w.run(t, "", "version")
	if version.code != 0 || !strings.Contains(version.out, "\nmanager v0.1.0\nverifier v0.1.0\n") {
		t.Errorf("code %d: %s%s", version.code, version.out, version.errOut)
	}
}

// A check that a user may not carry out is unknown, and does not fail.
func TestCheck_WithoutRights(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	got := w.run(t, "", "check", "-o", "json", "--as=no-rights")
	want := map[string]string{
		"API server": "ok", "clock": "ok", "resources": "ok",
		"CRDs":                  "unknown: no right to get customresourcedefinitions.apiextensions.k8s.io",
		"admission policies":    "unknown: no right to get validatingadmissionpolicies.admissionregistration.k8s.io",
		"webhook configuration": "unknown: no right to get validatingwebhookconfigurations.admissionregistration.k8s.io",
		"webhook":               "unknown: no right to create, as a dry run, an APIKey with a template in namespace default",
		"manager":               "unknown: no right to get deployments.apps in namespace apikey-manager-system",
		"leader":                "unknown: no right to get leases.coordination.k8s.io in namespace apikey-manager-system",
		"key exports":           "unknown: no right to list keyexports.apikey-manager.io",
		"verifier":              "unknown: no right to get deployments.apps in namespace apikey-manager-system",
	}
	statuses := got.checks(t)
	for name, status := range want {
		if statuses[name] != status {
			t.Errorf("%s is %s, want %s", name, statuses[name], status)
		}
	}
	if !strings.HasPrefix(statuses["verifier answers"], "unknown: no right to reach the verifier") || got.code != 0 {
		t.Errorf("code %d, verifier answers is %s", got.code, statuses["verifier answers"])
	}
	if version := w.run(t, "", "version", "--as=no-rights"); version.code != 0 || !strings.Contains(version.out, "manager unknown: ") {
		t.Errorf("code %d: %s%s", version.code, version.out, version.errOut)
	}
}

// Each check fails on a cluster on which what it checks is missing.
func TestCheck_Broken(t *testing.T) {
	t.Parallel()
	port, err := controlplane.FreePort()
	controlplanetest.Must(t, err)
	plane := controlplanetest.Start(t, controlplane.Options{WebhookPort: port, WithoutControllers: true})
	w := &suite{Installation: &controlplanetest.Installation{Plane: plane, Admin: controlplanetest.Connect(t, plane.Config())}}
	definition := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "apikeys.apikey-manager.io"}}
	controlplanetest.Must(t, w.Admin.Get(t.Context(), client.ObjectKeyFromObject(definition), definition))
	spec := definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	delete(spec.Properties, "notification")
	controlplanetest.Must(t, w.Admin.Update(t.Context(), definition))
	binding := func(name string) *admissionv1.ValidatingAdmissionPolicyBinding {
		return &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	controlplanetest.Must(t, w.Admin.Delete(t.Context(), binding("apikey-manager-secret-template")))
	want := map[string]string{
		"CRDs":                  "failed: the schema of apikeys.apikey-manager.io is not that of version",
		"admission policies":    "failed: not found",
		"webhook configuration": "failed: webhook delete.apikeys.apikey-manager.io has no caBundle",
		"webhook":               "failed: a key that the webhook rejects was accepted",
		"manager":               "failed: not found",
		"leader":                "failed: not found",
		"verifier":              "failed: not found",
		"verifier answers":      "failed: ask the verifier",
	}
	controlplanetest.Eventually(t, "the checks fail", func() error {
		got := w.run(t, "", "check", fmt.Sprintf("--url=http://127.0.0.1:%d", port), "-o", "json")
		statuses := got.checks(t)
		for name, status := range want {
			if !strings.HasPrefix(statuses[name], status) {
				return fmt.Errorf("%s is %s, want %s", name, statuses[name], status)
			}
		}
		if got.code != 1 || statuses["resources"] != "ok" {
			return fmt.Errorf("code %d, resources %s", got.code, statuses["resources"])
		}
		return nil
	})
	restored := binding("apikey-manager-secret-template")
	restored.Spec = admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: restored.Name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}}
	w.createAll(t, restored)
	controlplanetest.Must(t, w.Admin.Delete(t.Context(), binding("apikey-manager-key-export")))
	w.awaitCheck(t, "admission policies", `failed: not found: validatingadmissionpolicybindings.admissionregistration.k8s.io "apikey-manager-key-export"`)
	w.checkKeyExports(t)

	got := w.run(t, "", "check", "--server=https://127.0.0.1:1", "-o", "json")
	if statuses := got.checks(t); got.code != 1 || len(statuses) != 1 || !strings.HasPrefix(statuses["API server"], "failed: ") {
		t.Error(errors.New("without an API server"), got.code, statuses)
	}
}

// checkKeyExports tests the check of what KeyExports need, on a cluster whose manager may write no ConfigMaps.
func (w *suite) checkKeyExports(t *testing.T) {
	t.Helper()
	const namespace, name = "gateway", "key exports"
	w.createAll(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, newKeyExport(namespace, "secrets", "acme"))
	w.awaitCheck(t, name, "ok")
	w.createAll(t, newKeyExport(namespace, "digests", "acme", func(s *v1alpha1.KeyExportSpec) { s.Target.Kind = v1alpha1.ExportToConfigMap }))
	w.awaitCheck(t, name, `failed: not found: deployments.apps "apikey-manager"`)

	d := newDeployment(w.Plane.Namespace(), "apikey-manager", "registry.example/manager:v0.1.0")
	d.Spec.Template.Spec.ServiceAccountName = "apikey-manager"
	w.createAll(t, d)
	const missing = "failed: a KeyExport in namespace gateway writes ConfigMaps, but --export-configmap-namespaces of the manager lists "
	w.awaitCheck(t, name, missing+"0 other namespaces")
	d.Spec.Template.Spec.Containers[0].Args = []string{"--export-configmap-namespaces=mesh," + namespace}
	controlplanetest.Must(t, w.Admin.Update(t.Context(), d))
	user := "system:serviceaccount:" + w.Plane.Namespace() + ":apikey-manager"
	w.awaitCheck(t, name, "failed: "+user+" may not get configmaps in namespace gateway")

	w.createAll(t, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "admin"}, RoleRef: controlplanetest.ClusterRole("cluster-admin"),
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: w.Plane.Namespace(), Name: "apikey-manager"}},
	})
	w.awaitCheck(t, name, "ok")
}

// awaitCheck waits until a check has a status that begins with a text.
func (w *suite) awaitCheck(t *testing.T, name, want string) {
	t.Helper()
	controlplanetest.Eventually(t, name+" is "+want, func() error {
		got := w.run(t, "", "check", "--url=http://127.0.0.1:1", "-o", "json").checks(t)[name]
		if !strings.HasPrefix(got, want) {
			return errors.New(got)
		}
		return nil
	})
}

// createAll creates objects.
func (w *suite) createAll(t *testing.T, objects ...client.Object) {
	t.Helper()
	controlplanetest.Must(t, controlplanetest.Create(t.Context(), w.Admin, objects...))
}
