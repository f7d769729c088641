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

// definitionPath is where the API server asks about CustomResourceDefinitions.
const definitionPath = "/validate-customresourcedefinition"

// DefinitionValidator answers the API server about the deletion of this project's CustomResourceDefinitions. Deleting one
// deletes all of its objects without asking about any of them.
type DefinitionValidator struct {
	// Cache reads keys and accounts.
	Cache client.Reader
	// Defaults are what the manager's flags say.
	Defaults keys.Settings
}

var _ admission.Handler = &DefinitionValidator{}

// Handle denies the deletion while there is an issued key whose account forbids the deletion of keys.
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
	return admission.Denied(fmt.Sprintf("this would delete all keys, and account %s forbids the deletion of keys: "+
		"set spec.deletionPolicy of such accounts to Allow, or delete ValidatingWebhookConfiguration apikey-manager first to remove them all the same", account))
}

// isOwnDefinition reports whether a CustomResourceDefinition is one of those that keys depend on.
func isOwnDefinition(name string) bool {
	return name == "apikeys."+v1alpha1.GroupVersion.Group || name == "accounts."+v1alpha1.GroupVersion.Group
}

// forbidding returns the name of an account that has an issued key and forbids the deletion of keys; empty: none does.
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
		policies[accounts.Items[i].Name] = v.Defaults.Deletion(&accounts.Items[i])
	}
	for i := range list.Items {
		account := keys.HolderOf(&list.Items[i], accounts.Items)
		policy, exists := policies[account]
		if !exists {
			policy = v.Defaults.Deletion(nil)
		}
		if policy == v1alpha1.DeletionForbid && keys.MayBeIssued(&list.Items[i]) {
			return account, nil
		}
	}
	return "", nil
}
