// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// This file holds what happens to labels and annotations of a Secret. Those of the template are written, those that left the
// template are removed, and those of other clients stay. Their names are remembered in an annotation, not by server-side
// apply alone: a backup keeps annotations, but its restore makes another client the field manager of all that it restores.

// metadataNames are names of labels and annotations.
type metadataNames struct {
	Labels      []string `json:"labels,omitempty"`
	Annotations []string `json:"annotations,omitempty"`
}

// templateMetadata returns the names of a template's labels and annotations as AnnotationTemplateMetadata has them; empty: it
// has none.
func templateMetadata(t *v1alpha1.SecretTemplate) string {
	if t == nil || len(t.Labels)+len(t.Annotations) == 0 {
		return ""
	}
	names := metadataNames{slices.Sorted(maps.Keys(t.Labels)), slices.Sorted(maps.Keys(t.Annotations))}
	text, err := json.Marshal(names)
	if err != nil {
		return ""
	}
	return string(text)
}

// ownAnnotations returns the annotations of a key's Secret that say how it was rendered. They say so without the Secret being
// read.
func ownAnnotations(k *v1alpha1.APIKey, a *v1alpha1.Account, revoked bool) map[string]string {
	own := map[string]string{}
	add := func(name, value string) {
		if value != "" {
			own[name] = value
		}
	}
	add(AnnotationTemplateHash, TemplateHash(k, a))
	add(AnnotationTemplateMetadata, templateMetadata(secretTemplate(k)))
	if revoked {
		add(AnnotationRevoked, revokedNote)
	}
	return own
}

// hasOwnAnnotations reports whether a Secret's annotations say how it was rendered as own has it. Those that own does not have
// must be absent.
func hasOwnAnnotations(annotations, own map[string]string) bool {
	for _, name := range []string{AnnotationTemplateHash, AnnotationTemplateMetadata, AnnotationRevoked} {
		is, exists := annotations[name]
		if want, wanted := own[name]; exists != wanted || is != want {
			return false
		}
	}
	return true
}

// IsRenderedFrom reports whether the annotations of a key's Secret say that it was rendered from the key as it is now.
func IsRenderedFrom(k *v1alpha1.APIKey, a *v1alpha1.Account, annotations map[string]string) bool {
	return hasOwnAnnotations(annotations, ownAnnotations(k, a, k.Spec.State == v1alpha1.KeyStateRevoked))
}

// Metadata returns the labels and annotations that a Secret has once it has the shape: those of the shape, and those of other
// clients.
func (s SecretContent) Metadata(secret metav1.Object, settings Settings) (labels, annotations map[string]string) {
	names := formerNames(secret)
	keep := func(is map[string]string, former []string) map[string]string {
		kept := maps.Clone(is)
		if kept == nil {
			kept = map[string]string{}
		}
		for _, name := range former {
			if !isReservedName(name, settings) {
				delete(kept, name)
			}
		}
		return kept
	}
	labels, annotations = keep(secret.GetLabels(), names.Labels), keep(secret.GetAnnotations(), names.Annotations)
	for _, name := range []string{AnnotationTemplateHash, AnnotationTemplateMetadata, AnnotationRevoked, AnnotationFence} {
		delete(annotations, name)
	}
	maps.Copy(labels, s.Labels)
	maps.Copy(annotations, s.Annotations)
	return labels, annotations
}

// isReservedName reports whether no template may have a label or annotation of a name, so that it is another client's.
func isReservedName(name string, settings Settings) bool {
	return strings.Contains(name, "/") && reservedBy(name, slices.Concat(reservedDomains, settings.ReservedDomains)) != ""
}

// formerNames returns the names of the labels and annotations that templates gave a Secret, as far as is known. Any client that
// may write the Secret may change the annotation that says so. So a name that, as the API server has it, another client alone
// wrote is not among them, unless the whole Secret was: then it was restored.
func formerNames(secret metav1.Object) metadataNames {
	var names metadataNames
	if json.Unmarshal([]byte(secret.GetAnnotations()[AnnotationTemplateMetadata]), &names) != nil {
		names = metadataNames{}
	}
	own, others := writtenNames(secret.GetManagedFields())
	if !slices.Contains(own.Labels, LabelManagedBy) {
		return names
	}
	former := func(remembered, own, others []string) []string {
		return slices.DeleteFunc(slices.Concat(remembered, own), func(name string) bool { return slices.Contains(others, name) })
	}
	return metadataNames{former(names.Labels, own.Labels, others.Labels), former(names.Annotations, own.Annotations, others.Annotations)}
}

// writtenNames returns the labels and annotations that this field manager wrote last, and those that others did.
func writtenNames(entries []metav1.ManagedFieldsEntry) (own, others metadataNames) {
	for _, e := range entries {
		if e.Subresource != "" || e.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Metadata struct {
				Labels      map[string]json.RawMessage `json:"f:labels"`
				Annotations map[string]json.RawMessage `json:"f:annotations"`
			} `json:"f:metadata"`
		}
		if json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		names := &others
		if e.Manager == FieldManager {
			names = &own
		}
		names.Labels = appendFieldNames(names.Labels, fields.Metadata.Labels)
		names.Annotations = appendFieldNames(names.Annotations, fields.Metadata.Annotations)
	}
	return own, others
}

// appendFieldNames appends the names of the fields of a map, as managedFields has them.
func appendFieldNames(names []string, fields map[string]json.RawMessage) []string {
	for field := range fields {
		if name, isField := strings.CutPrefix(field, "f:"); isField {
			names = append(names, name)
		}
	}
	return names
}
