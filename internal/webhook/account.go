// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// AccountValidator answers the API server about Accounts.
type AccountValidator struct {
	// Cache reads accounts by the indexes of internal/keys.
	Cache client.Reader
	// Live reads from the API server itself: whether an account is in use is no question for a cache.
	Live client.Reader
	// Settings are what the manager's flags say.
	Settings keys.Settings
}

var _ admission.Validator[*v1alpha1.Account] = &AccountValidator{}

// ValidateCreate denies an account whose spec can't be carried out.
func (v *AccountValidator) ValidateCreate(ctx context.Context, account *v1alpha1.Account) (admission.Warnings, error) {
	if err := undecodableError(keys.NewlyUndecodable(nil, account.Undecodable)); err != nil {
		return nil, err
	}
	if err := append(keys.ValidateAccount(account), v.checkRecipients(nil, account)...).ToAggregate(); err != nil {
		return nil, err
	}
	return nil, v.validateExternalID(ctx, account)
}

// undecodableError denies fields that can't be decoded; nil: there are none.
func undecodableError(fields []string) error {
	if len(fields) == 0 {
		return nil
	}
	return fmt.Errorf("%s can't be read: correct it, as the schema of this version has it", strings.Join(fields, ", "))
}

// ValidateUpdate denies a change to a spec that can't be carried out.
func (v *AccountValidator) ValidateUpdate(ctx context.Context, was, is *v1alpha1.Account) (admission.Warnings, error) {
	if err := undecodableError(keys.NewlyUndecodable(was.Undecodable, is.Undecodable)); err != nil {
		return nil, err
	}
	if equality.Semantic.DeepEqual(was.Spec, is.Spec) {
		return nil, nil
	}
	if err := append(keys.ValidateAccount(is), v.checkRecipients(defaultNotification(was), is)...).ToAggregate(); err != nil || was.Spec.ExternalID == is.Spec.ExternalID {
		return nil, err
	}
	return nil, v.validateExternalID(ctx, is)
}

// validateExternalID denies an external ID that another account has, older or not: one that is given later would take it
// over from a younger account in use.
func (v *AccountValidator) validateExternalID(ctx context.Context, account *v1alpha1.Account) error {
	if account.Spec.ExternalID == "" {
		return nil
	}
	var list v1alpha1.AccountList
	if err := v.Cache.List(ctx, &list, client.MatchingFields{keys.IndexExternalID: account.Spec.ExternalID}); err != nil {
		return fmt.Errorf("list the accounts with the same externalID: %w", err)
	}
	for i := range list.Items {
		if name := list.Items[i].Name; name != account.Name {
			return fmt.Errorf("spec.externalID is already that of account %s: give each account one of its own", name)
		}
	}
	return nil
}

// checkRecipients finds addresses to which the manager may send no mail, other than those that were there before.
func (v *AccountValidator) checkRecipients(was *v1alpha1.Notification, account *v1alpha1.Account) field.ErrorList {
	return v.Settings.MailDomains.CheckRecipients(was, defaultNotification(account), field.NewPath("spec", "keyDefaults", "notification"))
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
	return nil, fmt.Errorf("account %s is in use: delete its keys first (kubectl get apikeys -A --field-selector spec.account=%s lists them) and repeat the command, which works if it deletes both; or set spec.state of the account to Suspended",
		account.Name, account.Name)
}
