// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// DenyDeletion returns a message for the user that says why a key may not be deleted under a policy and what to do
// instead, or "" if it may be deleted.
func DenyDeletion(k *v1alpha1.APIKey, policy v1alpha1.DeletionPolicy) string {
	switch policy {
	case v1alpha1.DeletionForbid:
		return fmt.Sprintf("account %[1]s forbids the deletion of keys; deactivate the key instead: "+
			`kubectl apikey deactivate %[2]s -n %[3]s, or kubectl patch apikey %[2]s -n %[3]s --type=merge -p '{"spec":{"state":"Inactive"}}'`,
			k.Spec.Account, k.Name, k.Namespace)
	case v1alpha1.DeletionRequireConfirmation:
		if k.Annotations[v1alpha1.ConfirmDeletionAnnotation] == k.Name {
			return ""
		}
		return fmt.Sprintf(
			"account %[1]s requires confirmation for the deletion of a key, which cannot be undone; confirm it first: "+
				"kubectl apikey delete %[2]s -n %[3]s asks for it, or kubectl annotate apikey %[2]s -n %[3]s %[4]s=%[2]s",
			k.Spec.Account, k.Name, k.Namespace, v1alpha1.ConfirmDeletionAnnotation,
		)
	case v1alpha1.DeletionAllow:
	}
	return ""
}
