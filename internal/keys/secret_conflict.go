// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// ownerOf returns the kind and the name of the object that a Secret belongs to: of its controller, or else of its first owner;
// empty: it has none.
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

// conflictMessage names the ways out of a Secret that is not the key's: adoption first, where the account allows it. A Secret
// that belongs to another object is to stay.
func (f *Facts) conflictMessage() string {
	message := "Secret " + SecretName(f.Key) + " already exists and is not owned by this APIKey"
	if f.Held.Owner != "" {
		return message + " but by " + f.Held.Owner + ": create this APIKey again with another spec.secret.name"
	}
	adopt := ""
	if f.Account != nil && f.Account.Spec.ImportPolicy == v1alpha1.ImportAllow && !Issued(f.Key) {
		adopt = "annotate it with " + v1alpha1.AdoptAnnotation + "=" + f.Key.Name + " to adopt it, "
	}
	return message + ": " + adopt + "create this APIKey again with another spec.secret.name, or delete the Secret if nothing needs what it holds"
}
