// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// written returns an entry of managedFields.
func written(manager, labels, annotations string) metav1.ManagedFieldsEntry {
	raw := metav1.NewFieldsV1(`{"f:data":{"f:api-key":{}},"f:metadata":{"f:labels":{` + labels + `},"f:annotations":{` + annotations + `}}}`)
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, FieldsType: "FieldsV1", FieldsV1: raw}
}

func TestMetadata_RemovesFormerTemplateNames(t *testing.T) {
	t.Parallel()
	const (
		ours    = `"f:app.kubernetes.io/managed-by":{},"f:apikey-manager.io/account":{}`
		oursAnd = ours + `,"f:example.com/old":{}`
		names   = `{"labels":["example.com/old"],"annotations":["example.com/old"]}`
	)
	before := map[string]string{
		"example.com/old": "x", "reloader.stakater.com/match": "true", "argocd.argoproj.io/tracking-id": "x",
		"kubectl.kubernetes.io/last-applied-configuration": "{}", "apikey-manager.io/adopt": "shop",
	}
	after := maps.Clone(before)
	delete(after, "example.com/old")
	for name, tc := range map[string]struct {
		remembered string
		fields     []metav1.ManagedFieldsEntry
		want       map[string]string
	}{
		"remembered":                     {remembered: names, want: after},
		"remembered, and written by us":  {remembered: names, fields: []metav1.ManagedFieldsEntry{written(keys.FieldManager, oursAnd, `"f:example.com/old":{}`)}, want: after},
		"of an older version":            {fields: []metav1.ManagedFieldsEntry{written(keys.FieldManager, oursAnd, `"f:example.com/old":{}`)}, want: after},
		"remembered, and since restored": {remembered: names, fields: []metav1.ManagedFieldsEntry{written("velero-server", oursAnd, `"f:example.com/old":{}`)}, want: after},
		"the memory is lost":             {want: before},
		"the memory is garbage":          {remembered: `{"labels":7}`, want: before},
		"the memory is no JSON":          {remembered: `example.com/old`, want: before},
		"the memory was emptied":         {remembered: `{}`, fields: []metav1.ManagedFieldsEntry{written(keys.FieldManager, oursAnd, `"f:example.com/old":{}`)}, want: after},
		"applied by another client as well": {
			remembered: names,
			fields:     []metav1.ManagedFieldsEntry{written(keys.FieldManager, oursAnd, `"f:example.com/old":{}`), written("flux", `"f:example.com/old":{}`, `"f:example.com/old":{}`)},
			want:       before,
		},
		"a forged memory, of another client's": {
			remembered: `{"labels":["reloader.stakater.com/match"],"annotations":["reloader.stakater.com/match"]}`,
			fields:     []metav1.ManagedFieldsEntry{written(keys.FieldManager, ours, ``), written("kubectl", `"f:reloader.stakater.com/match":{}`, `"f:reloader.stakater.com/match":{}`)},
			want:       before,
		},
		"a forged memory, of reserved names": {
			remembered: `{"labels":["argocd.argoproj.io/tracking-id","apikey-manager.io/adopt","kubectl.kubernetes.io/last-applied-configuration"],` +
				`"annotations":["argocd.argoproj.io/tracking-id","apikey-manager.io/adopt","kubectl.kubernetes.io/last-applied-configuration"]}`,
			want: before,
		},
		"managedFields of no use": {fields: []metav1.ManagedFieldsEntry{{Manager: keys.FieldManager}, {Manager: keys.FieldManager, FieldsV1: metav1.NewFieldsV1("[]")}}, want: before},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := keystest.Settings
			settings.ReservedDomains = []string{"argocd.argoproj.io"}
			secret := &metav1.ObjectMeta{Labels: maps.Clone(before), Annotations: maps.Clone(before), ManagedFields: tc.fields}
			secret.Annotations[keys.AnnotationRevoked] = "forged"
			if tc.remembered != "" {
				secret.Annotations[keys.AnnotationTemplateMetadata] = tc.remembered
			}
			content := keys.SecretContent{Labels: map[string]string{keys.LabelManagedBy: keys.ManagedBy}, Annotations: map[string]string{}}
			labels, annotations := content.Metadata(secret, settings)
			want := maps.Clone(tc.want)
			if diff := cmp.Diff(want, annotations); diff != "" {
				t.Errorf("annotations (-want +got):\n%s", diff)
			}
			want[keys.LabelManagedBy] = keys.ManagedBy
			if diff := cmp.Diff(want, labels); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
		})
	}
}

// A change of the annotations that describe how a Secret was rendered counts as drift, including annotations that
// should be absent.
func TestInspectSecret_DetectsChangedAnnotations(t *testing.T) {
	t.Parallel()
	a := keystest.NewAccount("acme")
	labelled := v1alpha1.SecretTemplate{Labels: map[string]string{"example.com/a": "b"}, Annotations: map[string]string{"example.com/c": "d"}}
	for name, tc := range map[string]struct {
		template v1alpha1.SecretTemplate
		edit     func(annotations map[string]string)
	}{
		"names are forgotten":                 {labelled, func(is map[string]string) { delete(is, keys.AnnotationTemplateMetadata) }},
		"names are added":                     {labelled, func(is map[string]string) { is[keys.AnnotationTemplateMetadata] = `{"labels":["x"]}` }},
		"names where no template has them":    {v1alpha1.SecretTemplate{Type: "example.com/x"}, func(is map[string]string) { is[keys.AnnotationTemplateMetadata] = "" }},
		"an active key is marked as revoked":  {labelled, func(is map[string]string) { is[keys.AnnotationRevoked] = "" }},
		"the hash of the template was edited": {labelled, func(is map[string]string) { is[keys.AnnotationTemplateHash] = "x" }},
	} {
		k := keystest.Key("shop", keystest.Issued(keystest.Epoch), keystest.Template(tc.template))
		content, err := keys.Render(k, a, keys.SecretCredentials{Current: credentialOf("default/shop")})
		if err != nil {
			t.Fatal(err)
		}
		if observed, _ := keys.InspectSecret(k, a, content, "8"); observed.Drifted || !keys.IsRenderedFrom(k, a, content.Annotations) {
			t.Errorf("%s: drifted from the beginning", name)
		}
		tc.edit(content.Annotations)
		if observed, _ := keys.InspectSecret(k, a, content, "8"); !observed.Drifted || keys.IsRenderedFrom(k, a, content.Annotations) {
			t.Errorf("%s: not seen", name)
		}
	}
}
