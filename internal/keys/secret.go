// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Possession is how the Secret of a key's name relates to the key.
type Possession string

// How the Secret of a key's name relates to the key.
const (
	// HeldNothing means there is no such Secret, as far as is known.
	HeldNothing Possession = "Nothing"
	// HeldForeign means the Secret belongs to somebody else.
	HeldForeign Possession = "Foreign"
	// HeldLeftover means the Secret belonged to a deleted APIKey of this name, and the garbage collector is about to
	// remove it.
	HeldLeftover Possession = "Leftover"
	// HeldOwned means the Secret is the key's own.
	HeldOwned Possession = "Owned"
	// HeldOffered means that no other object owns the Secret, and that it holds a credential of the key, or asks to be adopted
	// by the key under an account that allows it.
	HeldOffered Possession = "Offered"
)

// PossessionOf is how an existing Secret relates to a key: by its controlling owner.
func PossessionOf(secret metav1.Object, k *v1alpha1.APIKey) Possession {
	owner := metav1.GetControllerOf(secret)
	switch {
	case owner == nil:
		return HeldForeign
	case owner.UID == k.UID:
		return HeldOwned
	case owner.APIVersion == v1alpha1.GroupVersion.String() && owner.Kind == "APIKey" && owner.Name == k.Name:
		return HeldLeftover
	}
	return HeldForeign
}

// Held describes what a Secret holds, never its bytes.
type Held struct {
	Possession Possession
	// ResourceVersion is the Secret's.
	ResourceVersion string
	// Current is what stands in the current position; zero: nothing.
	Current Part
	// Previous is whether the previous credential is in it.
	Previous bool
	// Offered means that what stands in the current position is well-formed and was put there to be adopted.
	Offered bool
	// OfferProblem is why a Secret that asks to be adopted can't be; empty: it can.
	OfferProblem string
	// Writer is the field manager that last wrote the Secret, if it is another one.
	Writer string
	// Minted means that this round made what stands in the current position.
	Minted bool
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

// Material is whether the Secret holds any credential.
func (h Held) Material() bool {
	return h.Current.SHA256 != "" || h.Previous
}

// Part describes what stands in one position of a Secret.
type Part struct {
	// SHA256 is its digest.
	SHA256 string
	// Identity is zero if it is not a well-formed key.
	Identity Identity
}

func partOf(c Credential) Part {
	if len(c.Material) == 0 {
		return Part{}
	}
	return Part{SHA256: c.Material.SHA256(), Identity: c.Identity}
}

// Inspect takes a Secret of a key's own apart: what it holds, and the credentials to render it from again. A Secret is
// right if rendering gives what it is.
func Inspect(k *v1alpha1.APIKey, a *v1alpha1.Account, secret Shape, resourceVersion string) (Held, Contents) {
	held := Held{Possession: HeldOwned, ResourceVersion: resourceVersion}
	contents, offered := locate(k, a, secret)
	held.Offered = offered
	contents.Revoked = k.Spec.State == v1alpha1.KeyStateRevoked
	held.Current = partOf(contents.Current)
	if entry := secret.Data[EntryCurrent]; held.Current.SHA256 == "" && len(entry) > 0 && secretTemplate(k) == nil {
		held.Current.SHA256 = Material(entry).SHA256() // not a key of ours
	}
	held.Previous = len(contents.Previous.Material) > 0
	want, err := Render(k, a, contents)
	held.Drifted, held.Immutable = err != nil || !want.Fits(secret), secret.Immutable
	if err == nil {
		held.EntriesDrifted = !want.hasEntriesOf(secret)
	}
	if is := orElse(secret.Type, typeOpaque); err == nil && is != want.Type {
		held.WrongType, held.Drifted = plainName(is, maxName), true
	}
	return held, contents
}

// locate finds the credentials in a Secret. Once a staged credential was promoted, what the status still calls current is the
// previous one. What the status does not know is none of ours, unless the Secret asks to be adopted by a key that was never
// issued: otherwise anybody could plant the next key.
func locate(k *v1alpha1.APIKey, a *v1alpha1.Account, secret Shape) (c Contents, offered bool) {
	data, status := secret.Data, &k.Status
	for _, s := range staged(status) {
		if promoted, ok := find(data, s); ok {
			c.Current = promoted
			c.Previous, _ = findRole(data, status, v1alpha1.RoleCurrent)
			return c, false
		}
	}
	c.Previous, _ = findRole(data, status, v1alpha1.RolePrevious)
	if known, ok := findRole(data, status, v1alpha1.RoleCurrent); ok {
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

func findRole(data map[string][]byte, s *v1alpha1.APIKeyStatus, role v1alpha1.CredentialRole) (Credential, bool) {
	known := credential(s, role)
	if known == nil {
		return Credential{}, false
	}
	return find(data, *known)
}

// Fits is whether a Secret already has all labels and annotations of the shape, and exactly its entries.
func (s Shape) Fits(secret Shape) bool {
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

// MintedHeld is what a Secret holds that was just written with a new credential.
func MintedHeld(resourceVersion string, m Minted) Held {
	return Held{Possession: HeldOwned, ResourceVersion: resourceVersion, Current: partOf(Credential(m)), Minted: true}
}

// RemembersSecret reports whether the status says what the key's Secret holds. Of a key that was never issued it says at most
// that the Secret holds something unknown.
func RemembersSecret(k *v1alpha1.APIKey) bool {
	return k.Status.SecretRef != nil && (Issued(k) || k.Status.State == v1alpha1.StateRevoked)
}

// Remembered is what the Secret of a key holds according to the key's status. It holds true while the Secret has the
// resourceVersion that the status remembers.
func Remembered(k *v1alpha1.APIKey) Held {
	held := Held{Possession: HeldOwned, ResourceVersion: k.Status.SecretRef.ResourceVersion}
	if k.Status.State == v1alpha1.StateRevoked {
		return held
	}
	if c := current(&k.Status); c != nil {
		held.Current = Part{SHA256: c.SHA256, Identity: Identity{ID: c.ID, Hint: c.Hint}}
	}
	held.Previous = mayHoldPrevious(k) && credential(&k.Status, v1alpha1.RolePrevious) != nil
	return held
}
