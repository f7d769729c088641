// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"context"
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/webhook"
)

// keyExport returns a KeyExport in namespace gateway that writes Secret `target`.
func keyExport(name, target string, changes ...func(*v1alpha1.KeyExport)) *v1alpha1.KeyExport {
	e := &v1alpha1.KeyExport{
		ObjectMeta: metav1.ObjectMeta{Namespace: "gateway", Name: name},
		Spec:       v1alpha1.KeyExportSpec{Target: v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: target}},
	}
	for _, change := range changes {
		change(e)
	}
	return e
}

func exportValidator(t *testing.T, objects ...client.Object) *webhook.KeyExportValidator {
	t.Helper()
	r := reader(t, interceptor.Funcs{}, objects...)
	return &webhook.KeyExportValidator{Cache: r, APIReader: r, Settings: keys.Settings{ReservedDomains: []string{"argocd.argoproj.io"}}}
}

func argoCluster(e *v1alpha1.KeyExport) {
	e.Spec.Target.Labels = map[string]string{"argocd.argoproj.io/secret-type": "cluster"}
}

func TestKeyExport_Create(t *testing.T) {
	t.Parallel()
	conflict := verdict{denied: []string{"TargetConflict: spec.target.name: KeyExport old already writes Secret gateway-keys", "delete that KeyExport first"}}
	deleted := func(e *v1alpha1.KeyExport) {
		e.DeletionTimestamp, e.Finalizers = &metav1.Time{Time: keystest.Epoch}, []string{"example.com/keep"}
	}
	for name, tc := range map[string]struct {
		world  []client.Object
		export *v1alpha1.KeyExport
		want   verdict
	}{
		"the first":        {export: keyExport("new", "gateway-keys")},
		"another target":   {world: []client.Object{keyExport("old", "other-keys")}, export: keyExport("new", "gateway-keys")},
		"the same target":  {world: []client.Object{keyExport("old", "gateway-keys")}, export: keyExport("new", "gateway-keys"), want: conflict},
		"the same name":    {world: []client.Object{keyExport("new", "gateway-keys")}, export: keyExport("new", "gateway-keys")},
		"another kind":     {world: []client.Object{keyExport("old", "gateway-keys", ofConfigMaps)}, export: keyExport("new", "gateway-keys")},
		"one that is gone": {world: []client.Object{keyExport("old", "gateway-keys", deleted)}, export: keyExport("new", "gateway-keys")},
		"another namespace": {
			world:  []client.Object{keyExport("old", "gateway-keys", func(e *v1alpha1.KeyExport) { e.Namespace = "other" })},
			export: keyExport("new", "gateway-keys"),
		},
		"a cluster of Argo CD": {
			export: keyExport("new", "gateway-keys", argoCluster),
			want:   verdict{denied: []string{"InvalidSpec: spec.target.labels[argocd.argoproj.io/secret-type]"}},
		},
		"a value that is no key": {
			export: keyExport("new", "gateway-keys", func(e *v1alpha1.KeyExport) { e.Spec.Entry = &v1alpha1.ExportEntry{Value: "constant"} }),
			want:   verdict{denied: []string{"InvalidSpec: spec.entry.value"}},
		},
		"a selector with an unknown operator": {
			export: keyExport("new", "gateway-keys", func(e *v1alpha1.KeyExport) {
				e.Spec.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Within"}}}
			}),
			want: verdict{denied: []string{"InvalidSpec: spec.namespaceSelector", "Within"}},
		},
		"what cannot be decoded": {
			export: keyExport("new", "gateway-keys", func(e *v1alpha1.KeyExport) { e.Undecodable = []string{"spec.entry"} }),
			want:   verdict{denied: []string{"spec.entry cannot be decoded"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			warnings, err := exportValidator(t, tc.world...).ValidateCreate(t.Context(), tc.export)
			tc.want.check(t, warnings, err)
		})
	}
}

func ofConfigMaps(e *v1alpha1.KeyExport) { e.Spec.Target.Kind = v1alpha1.ExportToConfigMap }

// The cache may not have observed yet that another KeyExport with the same target was deleted, or created again with
// another target.
func TestKeyExport_CreateWithStaleCache(t *testing.T) {
	t.Parallel()
	cache := reader(t, interceptor.Funcs{}, keyExport("old", "gateway-keys"))
	for name, live := range map[string]client.Reader{
		"deleted": reader(t, interceptor.Funcs{}), "created again": reader(t, interceptor.Funcs{}, keyExport("old", "other-keys")),
	} {
		v := &webhook.KeyExportValidator{Cache: cache, APIReader: live}
		if _, err := v.ValidateCreate(t.Context(), keyExport("new", "gateway-keys")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeyExport_CreateWhereNothingIsWatched(t *testing.T) {
	t.Parallel()
	v := exportValidator(t)
	v.Settings.Namespaces = []string{"shop"}
	warnings, err := v.ValidateCreate(t.Context(), keyExport("new", "gateway-keys"))
	verdict{warned: []string{"does not watch namespace gateway", "nothing will be exported"}}.check(t, warnings, err)
}

func TestKeyExport_CreateWhatCannotBeReadIsDenied(t *testing.T) {
	t.Parallel()
	down := reader(t, interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return errDown },
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errDown
		},
	})
	for name, v := range map[string]*webhook.KeyExportValidator{
		"cache": {Cache: down, APIReader: down}, "API server": {Cache: reader(t, interceptor.Funcs{}, keyExport("old", "gateway-keys")), APIReader: down},
	} {
		if _, err := v.ValidateCreate(t.Context(), keyExport("new", "gateway-keys")); !errors.Is(err, errDown) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestKeyExport_Update(t *testing.T) {
	t.Parallel()
	scopes := func(e *v1alpha1.KeyExport) { e.Spec.Scopes = []string{"read"} }
	inDeletion := func(e *v1alpha1.KeyExport) { e.DeletionTimestamp = &metav1.Time{Time: keystest.Epoch} }
	undecodable := func(e *v1alpha1.KeyExport) { e.Undecodable = []string{"spec.entry"} }
	denied := verdict{denied: []string{"InvalidSpec: spec.target.labels[argocd.argoproj.io/secret-type]"}}
	for name, tc := range map[string]struct {
		was, is *v1alpha1.KeyExport
		want    verdict
	}{
		"a valid change":     {was: keyExport("e", "a"), is: keyExport("e", "a", scopes)},
		"to an invalid spec": {keyExport("e", "a"), keyExport("e", "a", argoCluster), denied},
		"of an invalid spec": {keyExport("e", "a", argoCluster), keyExport("e", "a", argoCluster, scopes), verdict{warned: []string{"spec.target.labels"}}},
		"from one invalid spec to another": {
			keyExport("e", "a", func(e *v1alpha1.KeyExport) { e.Spec.Target.Type = "argocd.argoproj.io/x" }), keyExport("e", "a", argoCluster), denied,
		},
		"to a valid spec":                    {was: keyExport("e", "a", argoCluster), is: keyExport("e", "a")},
		"of labels only":                     {was: keyExport("e", "a", argoCluster), is: keyExport("e", "a", argoCluster)},
		"in deletion":                        {was: keyExport("e", "a"), is: keyExport("e", "a", argoCluster, inDeletion)},
		"to a spec that cannot be decoded":   {keyExport("e", "a"), keyExport("e", "a", undecodable), verdict{denied: []string{"spec.entry cannot be decoded"}}},
		"of labels where nothing is decoded": {was: keyExport("e", "a", undecodable), is: keyExport("e", "a", undecodable)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			warnings, err := exportValidator(t).ValidateUpdate(t.Context(), tc.was, tc.is)
			tc.want.check(t, warnings, err)
		})
	}
}

func TestKeyExport_Delete(t *testing.T) {
	t.Parallel()
	warnings, err := exportValidator(t).ValidateDelete(t.Context(), keyExport("e", "a", argoCluster))
	verdict{}.check(t, warnings, err)
}
