// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// The kustomizations in docs/install.md render the same as the value of the chart.
func TestConfigMaps_ChartEqualsKustomize(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config, err := filepath.Rel(filepath.Join(dir, "overlay"), filepath.Join(root(t), "config"))
	controlplanetest.Must(t, err)
	for file, up := range map[string]string{"overlay/kustomization.yaml": "", "overlay/gateway/kustomization.yaml": "../"} {
		path := filepath.Join(dir, filepath.FromSlash(file))
		controlplanetest.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		text := strings.ReplaceAll(documented(t, file), up+"../config/", up+filepath.ToSlash(config)+"/")
		controlplanetest.Must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	kustomized := kustomize(t.Context(), t, controlplanetest.Kubectl(t), filepath.Join(dir, "overlay"))
	expectEqual(t, kustomized, render(t, "--set=keyExports.configMapNamespaces={gateway}"))
}

// documented returns the block of docs/install.md that begins with the name of a file and contains its name.
func documented(t *testing.T, file string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root(t), "docs", "install.md"))
	controlplanetest.Must(t, err)
	_, section, _ := strings.Cut(string(page), "\n## ConfigMaps of KeyExports\n")
	section, _, _ = strings.Cut(section, "\n## ")
	_, block, found := strings.Cut(section, "```yaml\n# "+file+"\n")
	if !found {
		t.Fatalf("docs/install.md has no %s", file)
	}
	block, _, _ = strings.Cut(block, "```")
	return block
}

// The manager has permissions on ConfigMaps in the listed namespaces only.
func TestConfigMaps_Roles(t *testing.T) {
	t.Parallel()
	for set, want := range map[string][]string{
		"": nil,
		"--set=keyExports.configMapNamespaces={gateway,edge}":                           {"edge", "gateway"},
		"--set=watchNamespaces={gateway,shop},keyExports.configMapNamespaces={gateway}": {"gateway"},
		"--set=keyExports.configMapNamespaces={" + namespace + "}":                      {namespace},
	} {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, object := range render(t, slices.DeleteFunc([]string{set}, func(s string) bool { return s == "" })...) {
				if object.GetKind() != "ClusterRole" && object.GetKind() != "Role" {
					continue
				}
				role := &rbacv1.Role{}
				controlplanetest.Must(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, role))
				for _, rule := range role.Rules {
					if slices.Contains(rule.Resources, "configmaps") || slices.Contains(rule.Resources, "*") {
						got = append(got, role.Namespace)
					}
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("roles on ConfigMaps are in %q, want %q", got, want)
			}
		})
	}
}

// configMaps proves that the manager may write ConfigMaps in the listed namespace and nowhere else.
func (i *installation) configMaps(t *testing.T) {
	asManager := controlplanetest.Connect(t, i.plane.ManagerConfig())
	try := func(namespace string) map[string]error {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "gateway-keys"}}
		return map[string]error{ // evaluated in this order
			"create": asManager.Create(t.Context(), object.DeepCopy()),
			"get":    asManager.Get(t.Context(), client.ObjectKeyFromObject(object), object.DeepCopy()),
			"update": asManager.Update(t.Context(), object.DeepCopy()),
			"list":   asManager.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace(namespace)),
			"delete": asManager.Delete(t.Context(), object.DeepCopy()),
		}
	}
	expect := func(namespace string, allowed bool) {
		t.Helper()
		for verb, err := range try(namespace) {
			if allowed && err != nil || !allowed && !apierrors.IsForbidden(err) {
				t.Errorf("the manager may %s ConfigMaps in %s: %v, want allowed: %t", verb, namespace, err, allowed)
			}
		}
	}
	expect("billing", false)
	i.helm(t, "upgrade", release, chartDir(t), "--force-conflicts", "--set=keyExports.configMapNamespaces={billing}")
	controlplanetest.Eventually(t, "the manager may list ConfigMaps in billing", func() error {
		return asManager.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace("billing"))
	})
	expect("billing", true)
	expect("shop", false)
	expect("kube-system", false)

	manager := i.startManager(t, "--export-configmap-namespaces=billing")
	allowed, denied := newExport("billing", v1alpha1.ExportToConfigMap), newExport("shop", v1alpha1.ExportToConfigMap)
	i.Create(t, allowed, denied)
	i.awaitExport(t, allowed, v1alpha1.ReasonExported)
	i.awaitExport(t, denied, v1alpha1.ReasonConfigMapsNotAllowed)
	written := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "billing", Name: "gateway-keys"}}
	i.Read(t, written)
	if got, want := written.Data[i.key.Status.KeyID], "sha256:"+controlplanetest.CredentialOf(i.key, v1alpha1.RoleCurrent).SHA256; got != want {
		t.Errorf("the ConfigMap has %q, want %q", got, want)
	}
	controlplanetest.Must(t, manager.Stop(controlplanetest.Timeout))
	for _, object := range []client.Object{allowed, denied, written} {
		controlplanetest.Must(t, i.client.Delete(t.Context(), object))
	}
	i.helm(t, "upgrade", release, chartDir(t), "--force-conflicts", "--reset-values")
	controlplanetest.Until(t, "the manager may still list ConfigMaps in billing", func() bool {
		return apierrors.IsForbidden(asManager.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace("billing")))
	})
}

// newExport returns a KeyExport of all keys.
func newExport(namespace string, kind v1alpha1.ExportTargetKind) *v1alpha1.KeyExport {
	return &v1alpha1.KeyExport{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "gateway"},
		Spec:       v1alpha1.KeyExportSpec{Target: v1alpha1.ExportTarget{Kind: kind, Name: "gateway-keys"}},
	}
}

// awaitExport waits until condition Ready of a KeyExport has a reason.
func (i *installation) awaitExport(t *testing.T, e *v1alpha1.KeyExport, reason string) {
	t.Helper()
	controlplanetest.Eventually(t, "the KeyExport in "+e.Namespace+" is "+reason, func() error {
		i.Read(t, e)
		ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != reason {
			return fmt.Errorf("conditions %v", e.Status.Conditions)
		}
		return nil
	})
}
