// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// AccountValidator answers the API server about Accounts.
type AccountValidator struct {
	// Live reads from the API server itself: whether an account is in use is no question for a cache.
	Live client.Reader
	// Defaults are what the manager's flags say.
	Defaults keys.Defaults
}

var _ admission.Validator[*v1alpha1.Account] = &AccountValidator{}

// ValidateCreate denies an account whose spec can't be carried out.
func (v *AccountValidator) ValidateCreate(_ context.Context, account *v1alpha1.Account) (admission.Warnings, error) {
	return nil, append(keys.ValidateAccount(account), v.checkRecipients(nil, account)...).ToAggregate()
}

// ValidateUpdate denies a change to a spec that can't be carried out.
func (v *AccountValidator) ValidateUpdate(_ context.Context, was, is *v1alpha1.Account) (admission.Warnings, error) {
	if equality.Semantic.DeepEqual(was.Spec, is.Spec) {
		return nil, nil
	}
	return nil, append(keys.ValidateAccount(is), v.checkRecipients(defaultNotification(was), is)...).ToAggregate()
}

// checkRecipients finds addresses to which the manager may send no mail, other than those that were there before.
func (v *AccountValidator) checkRecipients(was *v1alpha1.Notification, account *v1alpha1.Account) field.ErrorList {
	return v.Defaults.MailDomains.CheckRecipients(was, defaultNotification(account), field.NewPath("spec", "keyDefaults", "notification"))
}

func defaultNotification(a *v1alpha1.Account) *v1alpha1.Notification {
	if a.Spec.KeyDefaults == nil {
		return nil
	}
	return a.Spec.KeyDefaults.Notification
}

// ValidateDelete denies the deletion of an account that a key names. It does not say which: not everyone who may delete
// accounts may see the keys of all namespaces.
func (v *AccountValidator) ValidateDelete(ctx context.Context, account *v1alpha1.Account) (admission.Warnings, error) {
	var list v1alpha1.APIKeyList
	if err := v.Live.List(ctx, &list, client.MatchingFields{keys.IndexAccount: account.Name}, client.Limit(1)); err != nil {
		return nil, fmt.Errorf("list the keys of account %s: %w", account.Name, err)
	}
	if len(list.Items) == 0 {
		return nil, nil
	}
	return nil, fmt.Errorf("account %s is in use: delete its keys first (kubectl get apikeys -A --field-selector spec.account=%s lists them), or set spec.state of the account to Suspended",
		account.Name, account.Name)
}
