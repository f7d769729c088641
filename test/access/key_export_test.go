// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// askForExports is the message of config/key-export.
const askForExports = "you may not create a KeyExport or change its spec, because it exports keys of all namespaces: ask for the verb create on " +
	"keyexports.apikey-manager.io in all namespaces, by a ClusterRoleBinding"

func readExports(namespace string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return errors.Join(c.List(ctx, &v1alpha1.KeyExportList{}, client.InNamespace(namespace)),
			c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "present"}, &v1alpha1.KeyExport{}))
	}
}

func createExports(namespace string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.Create(ctx, newExport(namespace, "another"), client.DryRunAll)
	}
}

func changeExports(namespace string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.Patch(ctx, newExport(namespace, "present"), merge(`{"spec":{"accounts":["globex"]}}`), client.DryRunAll)
	}
}

func labelExports(namespace string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.Patch(ctx, newExport(namespace, "present"), merge(`{"metadata":{"labels":{"a":"b"}}}`), client.DryRunAll)
	}
}

func deleteExports(namespace string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return errors.Join(c.Delete(ctx, newExport(namespace, "present"), client.DryRunAll),
			c.DeleteAllOf(ctx, &v1alpha1.KeyExport{}, client.InNamespace(namespace), client.DryRunAll))
	}
}

// keyExport tests config/key-export.
func (w *suite) keyExport(t *testing.T) {
	t.Run("an owner in one namespace is refused", w.exportsOfOneNamespace)
	t.Run("an administrator of one namespace is refused", w.exportsOfAdministrator)
	t.Run("a role in all namespaces passes", func(t *testing.T) {
		w.create(t, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "exports"}, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"keyexports"}, Verbs: []string{"create", "patch"},
		}}})
		w.bindEverywhere(t, "petra", "exports")
		for _, what := range []string{"create exports at home", "create exports elsewhere", "change exports at home"} {
			controlplanetest.Eventually(t, "with the right in all namespaces, petra may "+what, func() error {
				return everything[what](t.Context(), w.as(t, "petra"))
			})
		}
	})
	t.Run("a GitOps tool with cluster-admin passes", func(t *testing.T) {
		const tool = "system:serviceaccount:flux-system:kustomize-controller"
		w.create(t, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "gitops"}, RoleRef: clusterRole("cluster-admin"),
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "flux-system", Name: "kustomize-controller"}},
		})
		as := w.as(t, tool)
		controlplanetest.Eventually(t, "it may create an export", func() error { return as.Create(t.Context(), newExport(home, "of-gitops")) })
		if err := as.Patch(t.Context(), newExport(home, "of-gitops"), merge(`{"spec":{"scopes":["read"]}}`)); err != nil {
			t.Errorf("change: %v", err)
		}
	})
	t.Run("a client that may write only the status passes", w.exportStatus)
}

// exportsOfOneNamespace tests a user who has the role of an owner by a RoleBinding.
func (w *suite) exportsOfOneNamespace(t *testing.T) {
	w.bindAtHome(t, "nils", ownerRole)
	w.letUse(t, "nils", "acme")
	w.may(t, "nils", "read keys at home", "create keys at home", "change keys at home", "delete keys at home",
		"read exports at home", "label exports at home", "delete exports at home")
	nils := w.as(t, "nils")
	own := newExport(home, "of-nils")
	w.create(t, own)
	for what, do := range map[string]func() error{
		"create": func() error { return nils.Create(t.Context(), newExport(home, "another"), client.DryRunAll) },
		"create by server-side apply": func() error {
			text := `{"apiVersion":"apikey-manager.io/v1alpha1","kind":"KeyExport","metadata":{"name":"applied"},"spec":{"target":{"kind":"Secret","name":"x"}}}`
			return nils.Patch(t.Context(), newExport(home, "applied"), client.RawPatch("application/apply-patch+yaml", []byte(text)),
				client.FieldOwner("nils"), client.ForceOwnership)
		},
		"change content": func() error { return nils.Patch(t.Context(), own.DeepCopy(), merge(`{"spec":{"content":"Key"}}`)) },
		"change accounts": func() error {
			return nils.Patch(t.Context(), own.DeepCopy(), merge(`{"spec":{"accounts":["globex"]},"metadata":{"labels":{"a":"b"}}}`))
		},
		"remove a criterion": func() error { return nils.Patch(t.Context(), own.DeepCopy(), merge(`{"spec":{"accounts":null}}`)) },
		"update": func() error {
			changed := own.DeepCopy()
			changed.Spec.AddressRestricted = v1alpha1.AddressRestrictedInclude
			return nils.Update(t.Context(), changed)
		},
	} {
		if err := do(); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), askForExports) {
			t.Errorf("%s: got %v, want forbidden, because %q", what, err, askForExports)
		}
	}
	for what, patch := range map[string]string{
		"labels": `{"metadata":{"labels":{"a":"b"}}}`, "annotations": `{"metadata":{"annotations":{"example.com/seen":"yes"}}}`,
		"finalizers": `{"metadata":{"finalizers":["example.com/keep"]}}`, "no finalizers": `{"metadata":{"finalizers":null}}`,
		"nothing": `{"spec":{"accounts":["acme"]}}`, "defaults": `{"spec":{"content":"Digest","layout":"Entries"}}`,
	} {
		if err := nils.Patch(t.Context(), own.DeepCopy(), merge(patch), client.DryRunAll); err != nil {
			t.Errorf("a patch of %s is refused: %v", what, err)
		}
	}
	if err := nils.Delete(t.Context(), own.DeepCopy()); err != nil {
		t.Errorf("deletion: %v", err)
	}
}

// exportsOfAdministrator tests a user who has all permissions in one namespace.
func (w *suite) exportsOfAdministrator(t *testing.T) {
	w.bindAtHome(t, "adam", "cluster-admin")
	adam := w.as(t, "adam")
	controlplanetest.Eventually(t, "adam may read exports", func() error { return readExports(home)(t.Context(), adam) })
	for _, what := range []string{"create exports at home", "change exports at home"} {
		if err := everything[what](t.Context(), adam); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), askForExports) {
			t.Errorf("%s: got %v, want forbidden, because %q", what, err, askForExports)
		}
	}
}

// exportStatus tests that writing the status, as the manager does, does not require permission to create KeyExports.
func (w *suite) exportStatus(t *testing.T) {
	w.create(t, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "writes-status-of-exports"}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"keyexports/status"}, Verbs: []string{"update", "patch"},
	}}})
	w.bindEverywhere(t, "stan", "writes-status-of-exports")
	stan := w.as(t, "stan")
	controlplanetest.Eventually(t, "stan may write the status", func() error {
		return stan.Status().Patch(t.Context(), newExport(home, "present"), merge(`{"status":{"observedGeneration":1,"keys":3}}`))
	})
	export := newExport(home, "present")
	if err := stan.Status().Patch(t.Context(), export, merge(`{"spec":{"content":"Key"},"status":{"keys":4}}`)); err != nil {
		t.Error(err)
	}
	if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(export), export); err != nil {
		t.Fatal(err)
	}
	if export.Status.Keys == nil || *export.Status.Keys != 4 || export.Spec.Content != v1alpha1.ExportContentDigest {
		t.Errorf("the export has content %s and status %+v", export.Spec.Content, export.Status)
	}
}

// exportsNotAggregated tests that no role but that of the owner names KeyExports: neither those of this project nor those
// of Kubernetes, as the kube-controller-manager aggregates them.
func (w *suite) exportsNotAggregated(t *testing.T) {
	if !w.plane.HasControllers() {
		t.Skip("there is no kube-controller-manager to aggregate roles")
	}
	of := func(role string) []rbacv1.PolicyRule {
		r := &rbacv1.ClusterRole{}
		if err := w.admin.Get(t.Context(), client.ObjectKey{Name: role}, r); err != nil {
			t.Fatal(err)
		}
		return r.Rules
	}
	names := func(resource string) func(rbacv1.PolicyRule) bool {
		return func(r rbacv1.PolicyRule) bool {
			return slices.Contains(r.APIGroups, v1alpha1.GroupVersion.Group) && slices.ContainsFunc(r.Resources, func(is string) bool {
				return is == "*" || is == resource || strings.HasPrefix(is, resource+"/")
			})
		}
	}
	for _, role := range []string{"view", "edit", "admin"} {
		controlplanetest.Until(t, role+" does not include keys", func() bool { return slices.ContainsFunc(of(role), names("apikeys")) })
		if slices.ContainsFunc(of(role), names("keyexports")) {
			t.Errorf("%s includes KeyExports", role)
		}
	}
	for role, want := range map[string]bool{ownerRole: true, editorRole: false, viewerRole: false} {
		if got := slices.ContainsFunc(of(role), names("keyexports")); got != want {
			t.Errorf("%s includes KeyExports: %t, want %t", role, got, want)
		}
	}
}

func newExport(namespace, name string) *v1alpha1.KeyExport {
	return &v1alpha1.KeyExport{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.KeyExportSpec{
			Accounts: []string{"acme"}, Target: v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: name + "-keys"},
		},
	}
}
