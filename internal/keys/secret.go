// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// Ownership describes how a Secret with the key's Secret name relates to the key.
type Ownership string

// The possible relations of a Secret to a key.
const (
	// SecretMissing means that there is no such Secret, as far as is known.
	SecretMissing Ownership = "Nothing"
	// SecretForeign means that the Secret is not owned by the key.
	SecretForeign Ownership = "Foreign"
	// SecretOrphaned means that the Secret is owned by a deleted APIKey of the same name, and that the garbage
	// collector is about to delete it.
	SecretOrphaned Ownership = "Leftover"
	// SecretOwned means that the Secret is owned by the key.
	SecretOwned Ownership = "Owned"
	// SecretOffered means that no other object owns the Secret, and that it either holds a credential of the key, or
	// has the annotation that offers it to the key for adoption under an account that allows it.
	SecretOffered Ownership = "Offered"
)

// OwnershipOf returns the relation of an existing Secret to a key, according to its controlling owner.
func OwnershipOf(secret metav1.Object, k *v1alpha1.APIKey) Ownership {
	owner := metav1.GetControllerOf(secret)
	switch {
	case owner == nil:
		return SecretForeign
	case owner.UID == k.UID:
		return SecretOwned
	case owner.APIVersion == v1alpha1.GroupVersion.String() && owner.Kind == "APIKey" && owner.Name == k.Name:
		return SecretOrphaned
	}
	return SecretForeign
}

// ObservedSecret describes the content of a Secret without key material.
type ObservedSecret struct {
	Ownership Ownership
	// ResourceVersion holds the resourceVersion of the Secret.
	ResourceVersion string
	// Current describes the current credential of the Secret. It is zero if there is none.
	Current ObservedCredential
	// HasPrevious reports whether the Secret holds the previous credential.
	HasPrevious bool
	// IsOffered reports whether the current credential is well-formed and offered for adoption.
	IsOffered bool
	// OfferProblem states why a Secret that is offered for adoption can't be adopted. It is empty if it can.
	OfferProblem string
	// Writer holds the field manager that last wrote the Secret, if that was another client.
	Writer string
	// JustIssued reports whether this reconcile generated the current credential.
	JustIssued bool
	// Owner holds the kind and the name of the owner of a Secret that is not owned by the key. It is empty if it has
	// none.
	Owner string
	// Immutable reports whether the API server refuses changes of the Secret's entries.
	Immutable bool
	// WrongType holds the type of the Secret if it is not the one that the key declares.
	WrongType string
	// EntriesDrifted reports whether the entries differ from what would be rendered now.
	EntriesDrifted bool
	// Drifted reports whether the Secret differs from what would be rendered now.
	Drifted bool
}

// HoldsCredential reports whether the Secret holds any credential.
func (h ObservedSecret) HoldsCredential() bool {
	return h.Current.SHA256 != "" || h.HasPrevious
}

// ObservedCredential describes a credential of a Secret without key material.
type ObservedCredential struct {
	// SHA256 holds the digest of the credential.
	SHA256 string
	// PublicPart holds its ID and hint. It is zero if the credential is not well-formed.
	PublicPart credential.PublicPart
}

// ObserveCredential returns the description of a credential without its key material.
func ObserveCredential(c credential.Credential) ObservedCredential {
	if len(c.Material) == 0 {
		return ObservedCredential{}
	}
	return ObservedCredential{SHA256: c.Material.SHA256(), PublicPart: c.PublicPart}
}

// InspectSecret inspects a Secret that is owned by a key. It returns a description of the content, and the credentials
// from which the Secret can be rendered again. A Secret has drifted if rendering it gives a different result.
func InspectSecret(
	k *v1alpha1.APIKey,
	a *v1alpha1.Account,
	secret SecretContent,
	resourceVersion string,
) (ObservedSecret, SecretCredentials) {
	observed := ObservedSecret{Ownership: SecretOwned, ResourceVersion: resourceVersion}
	credentials, offered := findCredentials(k, a, secret)
	observed.IsOffered = offered
	credentials.Revoked = k.Spec.State == v1alpha1.KeyStateRevoked
	observed.Current = ObserveCredential(credentials.Current)
	if entry := secret.Data[EntryCurrent]; observed.Current.SHA256 == "" && len(entry) > 0 && secretTemplate(k) == nil {
		observed.Current.SHA256 = credential.Material(entry).SHA256() // the value is not a credential of the key
	}
	observed.HasPrevious = len(credentials.Previous.Material) > 0
	want, err := Render(k, a, credentials)
	observed.Drifted, observed.Immutable = err != nil || !want.Matches(secret), secret.Immutable
	if err == nil {
		observed.EntriesDrifted = !want.hasEntriesOf(secret)
	}
	if is := cmp.Or(secret.Type, typeOpaque); err == nil && is != want.Type {
		observed.WrongType, observed.Drifted = plainName(is, maxName), true
	}
	return observed, credentials
}

// findCredentials finds the credentials in a Secret. Once a staged credential was promoted, the current credential of
// the status is the previous one of the Secret. A credential that the status does not know is ignored, unless the
// Secret is offered for adoption to a key that was never issued. Otherwise any client could choose the next credential
// of the key.
func findCredentials(k *v1alpha1.APIKey, a *v1alpha1.Account, secret SecretContent) (c SecretCredentials, offered bool) {
	data, status := secret.Data, &k.Status
	for _, s := range staged(status) {
		if promoted, ok := findCredential(data, s); ok {
			c.Current = promoted
			c.Previous, _ = findCredentialInRole(data, status, v1alpha1.RoleCurrent)
			return c, false
		}
	}
	c.Previous, _ = findCredentialInRole(data, status, v1alpha1.RolePrevious)
	if known, ok := findCredentialInRole(data, status, v1alpha1.RoleCurrent); ok {
		c.Current = known
		return c, false
	}
	if Issued(k) || !asksForAdoption(k, a, secret.Annotations) {
		return c, false
	}
	var err error
	c.Current, err = offeredCredential(k, a, data)
	return c, err == nil
}

func findCredentialInRole(data map[string][]byte, s *v1alpha1.APIKeyStatus, role v1alpha1.CredentialRole) (credential.Credential, bool) {
	known := credentialInRole(s, role)
	if known == nil {
		return credential.Credential{}, false
	}
	return findCredential(data, *known)
}

// Matches reports whether a Secret already has all labels and annotations of the content, and exactly its entries.
func (s SecretContent) Matches(secret SecretContent) bool {
	return contains(secret.Labels, s.Labels) && contains(secret.Annotations, s.Annotations) &&
		hasOwnAnnotations(secret.Annotations, s.Annotations) &&
		s.hasEntriesOf(secret)
}

func contains(all, some map[string]string) bool {
	for name, value := range some {
		if all[name] != value {
			return false
		}
	}
	return true
}

// JustIssuedSecret returns the description of a Secret that was just written with a new credential.
func JustIssuedSecret(resourceVersion string, m credential.Credential) ObservedSecret {
	return ObservedSecret{Ownership: SecretOwned, ResourceVersion: resourceVersion, Current: ObserveCredential(m), JustIssued: true}
}

// StatusDescribesSecret reports whether the status describes the content of the key's Secret. The status of a key that
// was never issued records at most that the Secret holds something unknown.
func StatusDescribesSecret(k *v1alpha1.APIKey) bool {
	return k.Status.SecretRef != nil && (Issued(k) || k.Status.State == v1alpha1.StateRevoked)
}

// SecretFromStatus returns the description of a key's Secret according to the key's status. It is accurate while the
// Secret has the resourceVersion that the status records.
func SecretFromStatus(k *v1alpha1.APIKey) ObservedSecret {
	observed := ObservedSecret{Ownership: SecretOwned, ResourceVersion: k.Status.SecretRef.ResourceVersion}
	if k.Status.State == v1alpha1.StateRevoked {
		return observed
	}
	if c := current(&k.Status); c != nil {
		observed.Current = ObservedCredential{SHA256: c.SHA256, PublicPart: credential.PublicPart{ID: c.ID, Hint: c.Hint}}
	}
	observed.HasPrevious = mayHoldPrevious(k) && credentialInRole(&k.Status, v1alpha1.RolePrevious) != nil
	return observed
}
