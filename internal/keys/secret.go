// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import "github.com/apikey-manager/apikey-manager/api/v1alpha1"

// Entries of a Secret of the default shape.
const (
	// EntryCurrent holds the current credential.
	EntryCurrent = "api-key"
	// EntryPrevious holds the previous credential while an overlap lasts.
	EntryPrevious = "previous-api-key"
	// EntryRevoked says why a Secret holds no credential.
	EntryRevoked = "revoked"
)

// Labels of a Secret that the manager writes.
const (
	// LabelManagedBy is the Kubernetes convention for who manages an object. The manager watches Secrets that have it.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "apikey-manager"
	// LabelAccount names the key's account.
	LabelAccount = "apikey-manager.io/account"
)

// SecretName is the name of the Secret a key writes, in the key's own namespace.
func SecretName(k *v1alpha1.APIKey) string {
	if k.Spec.Secret != nil && k.Spec.Secret.Name != "" {
		return k.Spec.Secret.Name
	}
	return k.Name
}

// SecretLabels are the labels the Secret of a key must have.
func SecretLabels(k *v1alpha1.APIKey) map[string]string {
	return map[string]string{LabelManagedBy: ManagedBy, LabelAccount: k.Spec.Account}
}

// Remembered is what the Secret of a key holds according to the key's status. It holds true while the Secret has the
// resourceVersion that the status remembers.
func Remembered(k *v1alpha1.APIKey) Held {
	held := Held{Possession: HeldOwned, ResourceVersion: k.Status.SecretRef.ResourceVersion}
	if c := current(&k.Status); c != nil && k.Status.State != v1alpha1.StateRevoked {
		held.SHA256 = c.SHA256
		held.Identity = Identity{ID: c.ID, Hint: c.Hint}
	}
	return held
}

// MintedHeld is what a Secret holds that was just written with a new credential.
func MintedHeld(resourceVersion string, m Minted) Held {
	return Held{Possession: HeldOwned, ResourceVersion: resourceVersion, SHA256: m.Material.SHA256(), Identity: m.Identity, Minted: true}
}
