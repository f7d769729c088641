// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// definitionPath is the path at which the API server requests the validation of CustomResourceDefinitions.
const definitionPath = "/validate-customresourcedefinition"

// DefinitionValidator validates the deletion of this project's CustomResourceDefinitions, because deleting one deletes
// all of its objects without calling the webhook for each of them.
type DefinitionValidator struct {
	// Cache lists keys and Accounts.
	Cache client.Reader
	// Settings holds the settings from the manager's flags.
	Settings keys.Settings
}

var _ admission.Handler = &DefinitionValidator{}

// Handle rejects the deletion while there is an issued key whose account forbids the deletion of keys.
func (v *DefinitionValidator) Handle(ctx context.Context, request admission.Request) admission.Response {
	if request.Operation != admissionv1.Delete || !isOwnDefinition(request.Name) {
		return admission.Allowed("")
	}
	account, err := v.forbidding(ctx)
	switch {
	case err != nil:
		return admission.Errored(http.StatusInternalServerError, err)
	case account == "":
		return admission.Allowed("")
	}
	return admission.Denied(
		fmt.Sprintf("deleting this CustomResourceDefinition would delete all keys, but account %s forbids the deletion of keys: "+
			"set spec.deletionPolicy of such accounts to Allow, or delete ValidatingWebhookConfiguration apikey-manager first "+
			"to delete the keys anyway", account),
	)
}

// isOwnDefinition reports whether the named CustomResourceDefinition is that of APIKeys or Accounts.
func isOwnDefinition(name string) bool {
	return name == "apikeys."+v1alpha1.GroupVersion.Group || name == "accounts."+v1alpha1.GroupVersion.Group
}

// forbidding returns the name of an account that has an issued key and forbids the deletion of keys, or "" if there is
// none.
func (v *DefinitionValidator) forbidding(ctx context.Context) (string, error) {
	var accounts v1alpha1.AccountList
	var list v1alpha1.APIKeyList
	if err := v.Cache.List(ctx, &accounts, client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("list accounts: %w", err)
	}
	if err := v.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("list keys: %w", err)
	}
	policies := map[string]v1alpha1.DeletionPolicy{}
	for i := range accounts.Items {
		policies[accounts.Items[i].Name] = v.Settings.Deletion(&accounts.Items[i])
	}
	for i := range list.Items {
		account := keys.HolderOf(&list.Items[i], accounts.Items)
		policy, exists := policies[account]
		if !exists {
			policy = v.Settings.Deletion(nil)
		}
		if policy == v1alpha1.DeletionForbid && keys.MayBeIssued(&list.Items[i]) {
			return account, nil
		}
	}
	return "", nil
}
