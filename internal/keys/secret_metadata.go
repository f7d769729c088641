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

// This file manages the labels and annotations of a Secret. Those of the template are written, those removed from the
// template are removed, and those of other clients stay. Their names are recorded in an annotation, not by server-side
// apply alone: a backup keeps annotations, but restoring it makes another client the field manager of the whole object.

// metadataNames lists the names of labels and annotations.
type metadataNames struct {
	Labels      []string `json:"labels,omitempty"`
	Annotations []string `json:"annotations,omitempty"`
}

// templateMetadata returns the value of AnnotationTemplateMetadata for the labels and annotations of a template, or ""
// if it has none.
func templateMetadata(t *v1alpha1.SecretTemplate) string {
	if t == nil {
		return ""
	}
	return TemplateMetadata(t.Labels, t.Annotations)
}

// TemplateMetadata returns the value of AnnotationTemplateMetadata for labels and annotations that a template or a
// KeyExport gives an object, or "" if there are none.
func TemplateMetadata(labels, annotations map[string]string) string {
	if len(labels)+len(annotations) == 0 {
		return ""
	}
	names := metadataNames{slices.Sorted(maps.Keys(labels)), slices.Sorted(maps.Keys(annotations))}
	text, err := json.Marshal(names)
	if err != nil {
		return ""
	}
	return string(text)
}

// ownAnnotations returns the annotations of a key's Secret that describe how it was rendered, so that this can be
// checked without reading the Secret.
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

// hasOwnAnnotations reports whether the annotations of a Secret that describe how it was rendered equal own. Those that
// are not in own must be absent.
func hasOwnAnnotations(annotations, own map[string]string) bool {
	for _, name := range []string{AnnotationTemplateHash, AnnotationTemplateMetadata, AnnotationRevoked} {
		is, exists := annotations[name]
		if want, wanted := own[name]; exists != wanted || is != want {
			return false
		}
	}
	return true
}

// IsRenderedFrom reports whether a Secret with these annotations was rendered from the current spec of the key and of
// its account.
func IsRenderedFrom(k *v1alpha1.APIKey, a *v1alpha1.Account, annotations map[string]string) bool {
	return hasOwnAnnotations(annotations, ownAnnotations(k, a, k.Spec.State == v1alpha1.KeyStateRevoked))
}

// Metadata returns the labels and annotations of a Secret after it is updated to this content: those of the content,
// and those of other clients.
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

// isReservedName reports whether templates may not use the name of a label or annotation, so that it must have been
// written by another client.
func isReservedName(name string, settings Settings) bool {
	return strings.Contains(name, "/") && reservedBy(name, slices.Concat(reservedDomains, settings.ReservedDomains)) != ""
}

// formerNames returns the names of the labels and annotations that templates gave a Secret, as far as is known. Any
// client that may write the Secret may change the annotation that lists them. Therefore it excludes the names that
// another client alone wrote according to managedFields, unless another client wrote the whole Secret, as a restore
// does.
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

// writtenNames returns the labels and annotations that this field manager wrote last, and those that others wrote last.
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

// appendFieldNames appends the names of the fields of a map in managedFields.
func appendFieldNames(names []string, fields map[string]json.RawMessage) []string {
	for field := range fields {
		if name, isField := strings.CutPrefix(field, "f:"); isField {
			names = append(names, name)
		}
	}
	return names
}
