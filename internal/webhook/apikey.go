// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

// APIKeyValidator validates the creation, the update and the deletion of APIKeys.
type APIKeyValidator struct {
	// Cache reads Accounts and Namespaces, and lists keys by the indexes of internal/keys.
	Cache client.Reader
	// APIReader reads directly from the API server.
	APIReader client.Reader
	// Clock returns the current time.
	Clock clock.PassiveClock
	// Settings holds the settings from the manager's flags.
	Settings keys.Settings
}

var _ admission.Validator[*v1alpha1.APIKey] = &APIKeyValidator{}

// Setup registers the validators with a manager's webhook server.
func Setup(mgr ctrl.Manager, clk clock.PassiveClock, defaults keys.Settings) error {
	key := &APIKeyValidator{Cache: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Clock: clk, Settings: defaults}
	if err := ctrl.NewWebhookManagedBy(mgr, &v1alpha1.APIKey{}).WithValidator(key).Complete(); err != nil {
		return fmt.Errorf("register the APIKey webhook: %w", err)
	}
	account := &AccountValidator{Cache: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Settings: defaults}
	if err := ctrl.NewWebhookManagedBy(mgr, &v1alpha1.Account{}).WithValidator(account).Complete(); err != nil {
		return fmt.Errorf("register the Account webhook: %w", err)
	}
	exports := &KeyExportValidator{Cache: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Settings: defaults}
	if err := ctrl.NewWebhookManagedBy(mgr, &v1alpha1.KeyExport{}).WithValidator(exports).Complete(); err != nil {
		return fmt.Errorf("register the KeyExport webhook: %w", err)
	}
	definition := &DefinitionValidator{Cache: mgr.GetClient(), Settings: defaults}
	mgr.GetWebhookServer().Register(definitionPath, &admission.Webhook{Handler: definition})
	return nil
}

// ValidateCreate rejects a key that violates the policy of its account, and a key above the limit unless the account
// allows queueing. It returns a warning for a key that the manager will not issue.
func (v *APIKeyValidator) ValidateCreate(ctx context.Context, key *v1alpha1.APIKey) (admission.Warnings, error) {
	facts, err := v.facts(ctx, key)
	if err != nil {
		return nil, err
	}
	if r := keys.CheckPolicy(facts); r != nil {
		return verdict(r)
	}
	if err := checkRecipients(v.Settings, nil, key); err != nil {
		return nil, err
	}
	if !v.Settings.WatchesNamespace(key.Namespace) {
		return admission.Warnings{"the manager does not watch namespace " + key.Namespace + ": the key will not be issued"}, nil
	}
	warnings, err := v.checkLimit(ctx, facts)
	return append(warnings, midnightWarnings(facts)...), err
}

// ValidateUpdate rejects an update that introduces a violation of the account's policy. If the key violated the policy
// before the update, other changes are allowed, so that a user can always deactivate the key.
func (v *APIKeyValidator) ValidateUpdate(ctx context.Context, was, is *v1alpha1.APIKey) (admission.Warnings, error) {
	unchanged := equality.Semantic.DeepEqual(was.Spec, is.Spec) && slices.Equal(was.Undecodable, is.Undecodable)
	if !is.DeletionTimestamp.IsZero() || unchanged {
		return nil, nil
	}
	if err := checkRecipients(v.Settings, was.Spec.Notification, is); err != nil {
		return nil, err
	}
	facts, err := v.facts(ctx, is)
	if err != nil {
		return nil, err
	}
	var warnings admission.Warnings
	if was.Spec.Expiration != is.Spec.Expiration {
		warnings = midnightWarnings(facts)
	}
	refusals := keys.Violations(facts)
	if len(refusals) == 0 {
		return warnings, nil
	}
	facts.Key = was
	before := keys.Violations(facts)
	for i := range refusals {
		if r := &refusals[i]; !slices.Contains(before, *r) {
			return verdict(r)
		}
	}
	return append(warnings, refusals[0].Message), nil
}

// midnightWarnings returns a warning if the expiration is an instant that was probably meant as a date.
func midnightWarnings(f keys.Facts) admission.Warnings {
	if warning := keys.MidnightWarning(f.Key, f.Account); warning != "" {
		return admission.Warnings{warning}
	}
	return nil
}

// checkRecipients returns an error if the key has addresses to which the manager may not send mail, except for
// addresses that are already in was.
func checkRecipients(defaults keys.Settings, was *v1alpha1.Notification, key *v1alpha1.APIKey) error {
	errs := defaults.MailDomains.CheckRecipients(was, key.Spec.Notification, field.NewPath("spec", "notification"))
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", v1alpha1.ReasonRecipientNotAllowed, errs[0])
}

// verdict converts a violation to an error. It returns a warning instead if the violation can end without a change of
// the key: a missing or suspended account.
func verdict(r *keys.Violation) (admission.Warnings, error) {
	switch r.Reason {
	case v1alpha1.ReasonAccountNotFound, v1alpha1.ReasonAccountSuspended:
		return admission.Warnings{r.Message}, nil
	}
	return nil, fmt.Errorf("%s: %s", r.Reason, r.Message)
}

func (v *APIKeyValidator) checkLimit(ctx context.Context, facts keys.Facts) (admission.Warnings, error) {
	if facts.Account == nil || !keys.NeedsSlot(facts) {
		return nil, nil
	}
	limit, unlimited := v.Settings.Limit(facts.Account)
	if unlimited {
		return nil, nil
	}
	others, err := lookup.Keys(ctx, v.Cache, keys.IndexAccount, facts.Account.Name)
	if err != nil {
		return nil, err
	}
	account := keys.AccountFacts{
		Account:         facts.Account,
		Keys:            others,
		Settings:        v.Settings,
		Now:             facts.Now,
		NamespaceLabels: map[string]map[string]string{},
	}
	for _, k := range others {
		if account.NamespaceLabels[k.Namespace], err = lookup.NamespaceLabels(ctx, v.Cache, facts.Account, k.Namespace); err != nil {
			return nil, err
		}
	}
	switch {
	case !keys.WouldExceedLimit(account):
		return nil, nil
	case keys.AllowsQueueing(facts.Account):
		return admission.Warnings{
			fmt.Sprintf("account %s has reached its key limit of %d: the key waits for a free slot", facts.Account.Name, limit),
		}, nil
	}
	return nil, fmt.Errorf("%s: %s", v1alpha1.ReasonLimitReached, keys.LimitMessage(account))
}

// facts returns what the policy of the key's account is checked against.
func (v *APIKeyValidator) facts(ctx context.Context, key *v1alpha1.APIKey) (keys.Facts, error) {
	return lookup.Facts(ctx, v.Cache, key, v.Settings, v.Clock.Now())
}

func (v *APIKeyValidator) now() time.Time { return v.Clock.Now().UTC().Truncate(time.Second) }

// accountOf returns the name of the key's account, even if the spec of the key cannot be decoded, or "" if it is
// unknown.
func (v *APIKeyValidator) accountOf(ctx context.Context, key *v1alpha1.APIKey) (string, error) {
	if len(key.Undecodable) == 0 {
		return key.Spec.Account, nil
	}
	var list v1alpha1.AccountList
	if err := v.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("list accounts: %w", err)
	}
	return keys.HolderOf(key, list.Items), nil
}

// ValidateDelete rejects the deletion of a key if the account's policy forbids it or requires confirmation. A key that
// never got a credential, and a key in a terminating namespace, can always be deleted. A key whose retention is over
// needs no confirmation.
func (v *APIKeyValidator) ValidateDelete(ctx context.Context, key *v1alpha1.APIKey) (admission.Warnings, error) {
	if !keys.MayBeIssued(key) {
		return nil, nil
	}
	var err error
	if key.Spec.Account, err = v.accountOf(ctx, key); err != nil {
		return nil, err
	}
	account, err := lookup.Account(ctx, v.Cache, key.Spec.Account)
	if err != nil {
		return nil, err
	}
	denial := keys.DenyDeletion(key, v.Settings.Deletion(account))
	if denial == "" || keys.RetentionOver(keys.Facts{Key: key, Account: account, Settings: v.Settings, Now: v.now()}) {
		return nil, nil
	}
	namespace, err := lookup.Namespace(ctx, v.APIReader, key.Namespace) // the cache may not have observed its deletion yet
	if err != nil {
		return nil, err
	}
	if !namespace.DeletionTimestamp.IsZero() {
		return nil, nil
	}
	return nil, errors.New(denial)
}
