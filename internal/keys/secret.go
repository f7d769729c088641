// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// Ownership is how the Secret of a key's name relates to the key.
type Ownership string

// How the Secret of a key's name relates to the key.
const (
	// SecretMissing means there is no such Secret, as far as is known.
	SecretMissing Ownership = "Nothing"
	// SecretForeign means the Secret belongs to somebody else.
	SecretForeign Ownership = "Foreign"
	// SecretOrphaned means the Secret belonged to a deleted APIKey of this name, and the garbage collector is about to
	// remove it.
	SecretOrphaned Ownership = "Leftover"
	// SecretOwned means the Secret is the key's own.
	SecretOwned Ownership = "Owned"
	// SecretOffered means that no other object owns the Secret, and that it holds a credential of the key, or asks to be adopted
	// by the key under an account that allows it.
	SecretOffered Ownership = "Offered"
)

// OwnershipOf is how an existing Secret relates to a key: by its controlling owner.
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

// ObservedSecret describes what a Secret holds, never its bytes.
type ObservedSecret struct {
	Ownership Ownership
	// ResourceVersion is the Secret's.
	ResourceVersion string
	// Current is what stands in the current position; zero: nothing.
	Current ObservedCredential
	// HasPrevious is whether the previous credential is in it.
	HasPrevious bool
	// IsOffered means that what stands in the current position is well-formed and was put there to be adopted.
	IsOffered bool
	// OfferProblem is why a Secret that asks to be adopted can't be; empty: it can.
	OfferProblem string
	// Writer is the field manager that last wrote the Secret, if it is another one.
	Writer string
	// JustIssued means that this round made what stands in the current position.
	JustIssued bool
	// Owner is the kind and the name of what owns a Secret that is not the key's; empty: nothing does.
	Owner string
	// Immutable reports whether the API server refuses changes of the Secret's entries.
	Immutable bool
	// WrongType is the type of the Secret if it is not the one that the key declares.
	WrongType string
	// EntriesDrifted reports whether the entries are not what they would be rendered to now.
	EntriesDrifted bool
	// Drifted means that the Secret is not what it would be rendered to now.
	Drifted bool
}

// HoldsCredential is whether the Secret holds any credential.
func (h ObservedSecret) HoldsCredential() bool {
	return h.Current.SHA256 != "" || h.HasPrevious
}

// ObservedCredential describes what stands in one position of a Secret.
type ObservedCredential struct {
	// SHA256 is its digest.
	SHA256 string
	// PublicPart is zero if it is not a well-formed key.
	PublicPart credential.PublicPart
}

// ObserveCredential describes a credential without its bytes.
func ObserveCredential(c credential.Credential) ObservedCredential {
	if len(c.Material) == 0 {
		return ObservedCredential{}
	}
	return ObservedCredential{SHA256: c.Material.SHA256(), PublicPart: c.PublicPart}
}

// InspectSecret takes a Secret of a key's own apart: what it holds, and the credentials to render it from again. A Secret is
// right if rendering gives what it is.
func InspectSecret(k *v1alpha1.APIKey, a *v1alpha1.Account, secret SecretContent, resourceVersion string) (ObservedSecret, SecretCredentials) {
	observed := ObservedSecret{Ownership: SecretOwned, ResourceVersion: resourceVersion}
	credentials, offered := findCredentials(k, a, secret)
	observed.IsOffered = offered
	credentials.Revoked = k.Spec.State == v1alpha1.KeyStateRevoked
	observed.Current = ObserveCredential(credentials.Current)
	if entry := secret.Data[EntryCurrent]; observed.Current.SHA256 == "" && len(entry) > 0 && secretTemplate(k) == nil {
		observed.Current.SHA256 = credential.Material(entry).SHA256() // not a key of ours
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

// findCredentials finds the credentials in a Secret. Once a staged credential was promoted, what the status still calls current is the
// previous one. What the status does not know is none of ours, unless the Secret asks to be adopted by a key that was never
// issued: otherwise anybody could plant the next key.
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

// Matches is whether a Secret already has all labels and annotations of the shape, and exactly its entries.
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

// JustIssuedSecret is what a Secret holds that was just written with a new credential.
func JustIssuedSecret(resourceVersion string, m credential.Credential) ObservedSecret {
	return ObservedSecret{Ownership: SecretOwned, ResourceVersion: resourceVersion, Current: ObserveCredential(m), JustIssued: true}
}

// StatusDescribesSecret reports whether the status says what the key's Secret holds. Of a key that was never issued it says at most
// that the Secret holds something unknown.
func StatusDescribesSecret(k *v1alpha1.APIKey) bool {
	return k.Status.SecretRef != nil && (Issued(k) || k.Status.State == v1alpha1.StateRevoked)
}

// SecretFromStatus is what the Secret of a key holds according to the key's status. It holds true while the Secret has the
// resourceVersion that the status remembers.
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
