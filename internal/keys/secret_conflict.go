// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// ownerOf returns the kind and the name of the owner of a Secret: of its controller, or else of its first owner, or ""
// if it has none.
func ownerOf(secret metav1.Object) string {
	owner := metav1.GetControllerOf(secret)
	if owners := secret.GetOwnerReferences(); owner == nil && len(owners) > 0 {
		owner = &owners[0]
	}
	if owner == nil {
		return ""
	}
	return plainName(owner.Kind, maxName) + " " + plainName(owner.Name, maxName)
}

// conflictMessage returns the message for a Secret that is not owned by the key, with the ways to resolve it, adoption
// first. It never advises to delete a Secret, which may hold the only copy of a key.
func (f *Facts) conflictMessage() string {
	message := "Secret " + SecretName(f.Key) + " already exists and is not owned by this APIKey"
	const another = "create this APIKey again with another spec.secret.name"
	switch {
	case f.Secret.Owner != "":
		return message + " but by " + f.Secret.Owner + ": " + another
	case Issued(f.Key):
		return message + ": put the key's own Secret back, or " + another
	case f.Account == nil || f.Account.Spec.ImportPolicy != v1alpha1.ImportAllow:
		message += ": to adopt the key in it, set spec.importPolicy of account " + f.Key.Spec.Account + " to Allow, and annotate it with "
	default:
		message += ": to adopt the key in it, annotate it with "
	}
	return message + v1alpha1.AdoptAnnotation + "=" + f.Key.Name + "; or " + another
}
