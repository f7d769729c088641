// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

func TestTrimSecret(t *testing.T) {
	t.Parallel()
	controller := true
	owned := func(kind, group string) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Name: "web", ResourceVersion: "7", Labels: map[string]string{keys.LabelManagedBy: keys.ManagedBy}, Annotations: map[string]string{"a": "b"},
			ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "manager"}},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: group, Kind: kind, Name: "web", UID: "1", Controller: &controller}},
		}}
	}
	own := v1alpha1.GroupVersion.String()
	for name, tc := range map[string]struct {
		secret *metav1.PartialObjectMetadata
		labels bool
	}{
		"of a key":                   {secret: owned("APIKey", own)},
		"of a KeyExport":             {secret: owned("KeyExport", own), labels: true},
		"of a kind of another group": {secret: owned("APIKey", "example.com/v1"), labels: true},
		"of no owner":                {secret: &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}}, labels: true},
	} {
		want := tc.secret.DeepCopy()
		if want.ManagedFields = nil; !tc.labels {
			want.Labels = nil
		}
		got, err := trimSecret(tc.secret)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v, %s", name, err, diff)
		}
	}
	if got, err := trimSecret("not an object"); err != nil || got != "not an object" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestCacheOptions_TrimSecrets(t *testing.T) {
	t.Parallel()
	for o, by := range cacheOptions(options{configMapNamespaces: []string{"gateway"}}) {
		if _, isSecret := o.(*corev1.Secret); isSecret != (by.Transform != nil) {
			t.Errorf("%T has a transform: %t", o, by.Transform != nil)
		}
	}
}
