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

// Entries of a Secret without a template.
const (
	// EntryCurrent holds the current credential.
	EntryCurrent = "api-key"
	// EntryPrevious holds the previous credential during the overlap, under spec.secret.previousKey: Include.
	EntryPrevious = "previous-api-key"
)

// Labels and annotations of a Secret that the manager writes.
const (
	// LabelManagedBy is the conventional Kubernetes label for the tool that manages an object. The manager watches the
	// Secrets that have it.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "apikey-manager"
	// LabelAccount names the key's account.
	LabelAccount = "apikey-manager.io/account"
	// AnnotationTemplateHash holds the digest of everything that the Secret was rendered from, except its credentials,
	// so that a change can be detected without reading the Secret. Only Secrets with a template, or with an entry for
	// the previous credential, have it.
	AnnotationTemplateHash = "apikey-manager.io/shape"
	// AnnotationFence changes with each FenceSecret.
	AnnotationFence = "apikey-manager.io/fence"
	// AnnotationRevoked explains why a Secret holds no credential. It is not an entry, because an entry could be taken
	// for a key.
	AnnotationRevoked = "apikey-manager.io/revoked"

	// AnnotationTemplateMetadata lists the labels and annotations that the template gave the Secret, so that those
	// removed from the template are removed from the Secret.
	AnnotationTemplateMetadata = "apikey-manager.io/template-metadata"

	revokedNote = "This API key was revoked for good; it has no credential any more."
)

// SecretCredentials holds the credentials from which a Secret is rendered. A credential without material is left out.
type SecretCredentials struct {
	Current  credential.Credential
	Previous credential.Credential
	// Revoked reports whether the key is revoked, so that its Secret never holds a credential again.
	Revoked bool
}

// SecretContent describes the content of a Secret, without its name and owner.
type SecretContent struct {
	Labels      map[string]string
	Annotations map[string]string
	Type        string
	Data        map[string][]byte
	// Immutable reports whether the Secret is immutable. Rendered content never is.
	Immutable bool
}

// SecretName returns the name of the key's Secret, which is in the namespace of the key.
func SecretName(k *v1alpha1.APIKey) string {
	if k.Spec.Secret != nil && k.Spec.Secret.Name != "" {
		return k.Spec.Secret.Name
	}
	return k.Name
}

// Render returns the content of a key's Secret with the given credentials. InspectSecret finds the current credential
// in it. Render fails only if the key's template does, with a TemplateError. A template that CheckPolicy accepted fails
// only if its output depends on the credential in an unusual way.
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

// includesPrevious reports whether a Secret without a template has an entry for the previous credential.
func includesPrevious(k *v1alpha1.APIKey) bool {
	return k.Spec.Secret != nil && k.Spec.Secret.PreviousKey == v1alpha1.PreviousKeyInclude
}

// mayHoldPrevious reports whether a key's Secret may hold the previous credential. A template may use it in many ways.
func mayHoldPrevious(k *v1alpha1.APIKey) bool {
	t := secretTemplate(k)
	return includesPrevious(k) || t != nil && len(t.Data) > 0
}

// TemplateHash returns the truncated SHA-256 of everything that a Secret is rendered from, except its credentials. It
// is empty for a Secret that has neither a template nor an entry for the previous credential.
func TemplateHash(k *v1alpha1.APIKey, a *v1alpha1.Account) string {
	if secretTemplate(k) == nil && !includesPrevious(k) {
		return ""
	}
	sum := sha256.Sum256(templateSource(k, a))
	return hex.EncodeToString(sum[:16])
}
