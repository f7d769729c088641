// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// Entries of a Secret of the default shape.
const (
	// EntryCurrent holds the current credential.
	EntryCurrent = "api-key"
	// EntryPrevious holds the previous credential while an overlap lasts, under spec.secret.previousKey: Include.
	EntryPrevious = "previous-api-key"
)

// Labels and annotations of a Secret that the manager writes.
const (
	// LabelManagedBy is the Kubernetes convention for who manages an object. The manager watches Secrets that have it.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "apikey-manager"
	// LabelAccount names the key's account.
	LabelAccount = "apikey-manager.io/account"
	// AnnotationTemplateHash is the digest of all that the Secret was rendered from but its material, so that a change shows
	// without the Secret being read. Only Secrets with a template, or with a place for the previous credential, have it.
	AnnotationTemplateHash = "apikey-manager.io/shape"
	// AnnotationFence changes with each FenceSecret.
	AnnotationFence = "apikey-manager.io/fence"
	// AnnotationRevoked says why a Secret holds no credential. It is no entry, since an entry could be taken for a key.
	AnnotationRevoked = "apikey-manager.io/revoked"

	// AnnotationTemplateMetadata names the labels and annotations that the template gave the Secret, so that those are removed
	// that leave the template.
	AnnotationTemplateMetadata = "apikey-manager.io/template-metadata"

	revokedNote = "This API key was revoked for good; it has no credential any more."
)

// SecretCredentials are the credentials a Secret is rendered from. One without material is not in it.
type SecretCredentials struct {
	Current  credential.Credential
	Previous credential.Credential
	// Revoked is whether the Secret holds no credential for good.
	Revoked bool
}

// SecretContent is what a Secret is to be, its name and owner aside.
type SecretContent struct {
	Labels      map[string]string
	Annotations map[string]string
	Type        string
	Data        map[string][]byte
	// Immutable reports whether a Secret says that its entries never change. No rendered one does.
	Immutable bool
}

// SecretName is the name of the Secret a key writes, in the key's own namespace.
func SecretName(k *v1alpha1.APIKey) string {
	if k.Spec.Secret != nil && k.Spec.Secret.Name != "" {
		return k.Spec.Secret.Name
	}
	return k.Name
}

// Render is the Secret of a key with the given contents, in which Inspect finds the current credential. It fails only if
// the key's template does, with a TemplateError. A template that Refuse let pass fails if it makes something else of the
// credential than of others.
func Render(k *v1alpha1.APIKey, a *v1alpha1.Account, c SecretCredentials) (SecretContent, error) {
	content := SecretContent{Type: typeOpaque, Labels: map[string]string{}, Annotations: map[string]string{}, Data: map[string][]byte{}}
	t := secretTemplate(k)
	if t != nil {
		maps.Copy(content.Labels, t.Labels)
		maps.Copy(content.Annotations, t.Annotations)
		content.Type = cmp.Or(t.Type, content.Type)
	}
	maps.Copy(content.Annotations, ownAnnotations(k, a, c.Revoked))
	content.Labels[LabelManagedBy] = ManagedBy
	content.Labels[LabelAccount] = k.Spec.Account
	switch custom := t != nil && len(t.Data) > 0; {
	case c.Revoked:
		content.Data = clearedEntries(t)
	case custom:
		entries, err := renderTemplate(k, a, c)
		if err != nil {
			return SecretContent{}, err
		}
		content.Data = entries
	default:
		put(content.Data, EntryCurrent, c.Current)
		if includesPrevious(k) {
			put(content.Data, EntryPrevious, c.Previous)
		}
	}
	return content, nil
}

func put(data map[string][]byte, entry string, c credential.Credential) {
	if len(c.Material) > 0 {
		data[entry] = c.Material
	}
}

// includesPrevious reports whether a Secret of the default shape has a place for the previous credential.
func includesPrevious(k *v1alpha1.APIKey) bool {
	return k.Spec.Secret != nil && k.Spec.Secret.PreviousKey == v1alpha1.PreviousKeyInclude
}

// mayHoldPrevious reports whether a key's Secret may hold the previous credential. A template may use it in many ways.
func mayHoldPrevious(k *v1alpha1.APIKey) bool {
	t := secretTemplate(k)
	return includesPrevious(k) || t != nil && len(t.Data) > 0
}

// TemplateHash is the SHA-256 of all that a Secret is rendered from but its material; empty for a Secret that has neither a
// template nor a place for the previous credential.
func TemplateHash(k *v1alpha1.APIKey, a *v1alpha1.Account) string {
	if secretTemplate(k) == nil && !includesPrevious(k) {
		return ""
	}
	sum := sha256.Sum256(templateSource(k, a))
	return hex.EncodeToString(sum[:16])
}
