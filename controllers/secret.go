// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// newSecret is the Secret of a key with its first credential.
func newSecret(key *v1alpha1.APIKey, material keys.Material) *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: keys.SecretName(key),
			OwnerReferences: []metav1.OwnerReference{controllerReference(key)},
		},
		Type: corev1.SecretTypeOpaque,
	}
	fill(secret, material)
	dress(secret, key)
	return secret
}

// controllerReference makes the garbage collector remove the Secret after its key. It does not block the key's deletion:
// that would take the right to set finalizers on keys.
func controllerReference(key *v1alpha1.APIKey) metav1.OwnerReference {
	isController := true
	return metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "APIKey", Name: key.Name, UID: key.UID, Controller: &isController,
	}
}

// fill makes material the current entry, and the only one with material in it.
func fill(secret *corev1.Secret, material keys.Material) {
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	secret.Data[keys.EntryCurrent] = material
	delete(secret.Data, keys.EntryPrevious)
	delete(secret.Data, keys.EntryRevoked)
}

// emptySecret takes all material out and says why.
func emptySecret(secret *corev1.Secret) {
	delete(secret.Data, keys.EntryCurrent)
	delete(secret.Data, keys.EntryPrevious)
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	secret.Data[keys.EntryRevoked] = []byte("This API key was revoked for good; it has no credential any more.\n")
}

// dress puts the labels on that the manager finds its Secrets by.
func dress(secret *corev1.Secret, key *v1alpha1.APIKey) {
	if secret.Labels == nil {
		secret.Labels = map[string]string{}
	}
	maps.Copy(secret.Labels, keys.SecretLabels(key))
}

// inspect says what a Secret holds for a key.
func inspect(secret *corev1.Secret, key *v1alpha1.APIKey) keys.Held {
	held := keys.Held{Possession: possession(secret, key), ResourceVersion: secret.ResourceVersion}
	if held.Possession != keys.HeldOwned {
		return held
	}
	if material := keys.Material(secret.Data[keys.EntryCurrent]); len(material) > 0 {
		held.SHA256 = material.SHA256()
		held.Identity, _ = keys.ParseToken(material)
	}
	for name, value := range keys.SecretLabels(key) {
		held.Drifted = held.Drifted || secret.Labels[name] != value
	}
	return held
}

func possession(secret *corev1.Secret, key *v1alpha1.APIKey) keys.Possession {
	owner := metav1.GetControllerOf(secret)
	switch {
	case owner == nil:
		return keys.HeldForeign
	case owner.UID == key.UID:
		return keys.HeldOwned
	case owner.APIVersion == v1alpha1.GroupVersion.String() && owner.Kind == "APIKey" && owner.Name == key.Name:
		return keys.HeldLeftover
	}
	return keys.HeldForeign
}
