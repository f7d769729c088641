// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// secretWriter names the field manager of Secrets that this package writes.
const secretWriter = client.FieldOwner(keys.FieldManager)

// newSecret returns the Secret of a key, with the given content.
func newSecret(key *v1alpha1.APIKey, content keys.SecretContent) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: keys.SecretName(key), Labels: content.Labels, Annotations: content.Annotations,
			OwnerReferences: []metav1.OwnerReference{controllerReference(key)},
		},
		Type: corev1.SecretType(content.Type),
		Data: content.Data,
	}
}

// controllerReference returns an owner reference with which the garbage collector removes the Secret after its key. It
// does not block the deletion of the key: that would require permission to set finalizers on keys.
func controllerReference(key *v1alpha1.APIKey) metav1.OwnerReference {
	isController := true
	return metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "APIKey", Name: key.Name, UID: key.UID, Controller: &isController,
	}
}

// applyContent sets the content of a Secret. Labels and annotations of other clients are kept; data entries of other
// clients are removed.
func (r *APIKeyReconciler) applyContent(secret *corev1.Secret, content keys.SecretContent) {
	secret.Labels, secret.Annotations = content.Metadata(secret, r.Settings)
	secret.Data = content.Data
}

// contentOf returns the content of a Secret.
func contentOf(secret *corev1.Secret) keys.SecretContent {
	return keys.SecretContent{
		Labels: secret.Labels, Annotations: secret.Annotations, Type: string(secret.Type), Data: secret.Data,
		Immutable: secret.Immutable != nil && *secret.Immutable,
	}
}
