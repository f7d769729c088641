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
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

// AccountValidator validates the creation, the update and the deletion of Accounts.
type AccountValidator struct {
	// Cache lists Accounts by the indexes of internal/keys.
	Cache client.Reader
	// APIReader lists keys directly from the API server. An Account must not be deleted because the cache has not observed
	// its first key yet.
	APIReader client.Reader
	// Settings holds the settings from the manager's flags.
	Settings keys.Settings
}

var _ admission.Validator[*v1alpha1.Account] = &AccountValidator{}

// ValidateCreate rejects an Account whose spec is invalid.
func (v *AccountValidator) ValidateCreate(ctx context.Context, account *v1alpha1.Account) (admission.Warnings, error) {
	if err := undecodableError(keys.NewlyUndecodable(nil, account.Undecodable)); err != nil {
		return nil, err
	}
	if err := append(keys.ValidateAccount(account), v.checkRecipients(nil, account)...).ToAggregate(); err != nil {
		return nil, err
	}
	return nil, v.validateExternalID(ctx, account)
}

// undecodableError returns an error that names the fields that cannot be decoded, or nil if there are none.
func undecodableError(fields []string) error {
	if len(fields) == 0 {
		return nil
	}
	return fmt.Errorf("%s cannot be decoded: correct it to match the schema of this version", strings.Join(fields, ", "))
}

// ValidateUpdate rejects an update to an invalid spec. It accepts updates that do not change the spec.
func (v *AccountValidator) ValidateUpdate(ctx context.Context, was, is *v1alpha1.Account) (admission.Warnings, error) {
	if err := undecodableError(keys.NewlyUndecodable(was.Undecodable, is.Undecodable)); err != nil {
		return nil, err
	}
	if equality.Semantic.DeepEqual(was.Spec, is.Spec) {
		return nil, nil
	}
	errs := append(keys.ValidateAccount(is), v.checkRecipients(defaultNotification(was), is)...)
	if err := errs.ToAggregate(); err != nil || was.Spec.ExternalID == is.Spec.ExternalID {
		return nil, err
	}
	return nil, v.validateExternalID(ctx, is)
}

// validateExternalID rejects an external ID that another Account has, even if that Account is younger: the external ID
// would move to the older Account while the younger one uses it.
func (v *AccountValidator) validateExternalID(ctx context.Context, account *v1alpha1.Account) error {
	declaring, err := lookup.Accounts(ctx, v.Cache, account.Spec.ExternalID)
	if err != nil {
		return err
	}
	for _, other := range declaring {
		if other.Name != account.Name {
			return fmt.Errorf("spec.externalID is already used by account %s: it must be unique", other.Name)
		}
	}
	return nil
}

// checkRecipients returns an error for each address to which the manager may not send mail, except for addresses that
// are already in was.
func (v *AccountValidator) checkRecipients(was *v1alpha1.Notification, account *v1alpha1.Account) field.ErrorList {
	return v.Settings.MailDomains.CheckRecipients(was, defaultNotification(account), field.NewPath("spec", "keyDefaults", "notification"))
}

func defaultNotification(a *v1alpha1.Account) *v1alpha1.Notification {
	if a.Spec.KeyDefaults == nil {
		return nil
	}
	return a.Spec.KeyDefaults.Notification
}

// ValidateDelete rejects the deletion of an Account that is named by a key. The error does not name the key, because a
// user who can delete Accounts may not be allowed to read the keys of all namespaces.
func (v *AccountValidator) ValidateDelete(ctx context.Context, account *v1alpha1.Account) (admission.Warnings, error) {
	var list v1alpha1.APIKeyList
	if err := v.APIReader.List(ctx, &list, client.MatchingFields{keys.IndexAccount: account.Name}, client.Limit(1)); err != nil {
		return nil, fmt.Errorf("list the keys of account %s: %w", account.Name, err)
	}
	if len(list.Items) == 0 {
		return nil, nil
	}
	return nil, fmt.Errorf(
		"account %s is in use: delete its keys first (list them with kubectl get apikeys -A --field-selector spec.account=%s) "+
			"and repeat the command, or set spec.state of the account to Suspended",
		account.Name,
		account.Name,
	)
}
