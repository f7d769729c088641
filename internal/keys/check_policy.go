// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Violation describes why a key is not accepted: a reason from api/v1alpha1, and a sentence that names the field and
// what to change.
type Violation struct {
	Reason  string
	Message string
}

// CheckPolicy returns the first violation of the rules for a key's own spec and of its account's policy, or nil if
// there is none. It does not check the limit.
func CheckPolicy(f Facts) *Violation {
	for _, check := range policyChecks {
		if r := check(f); r != nil {
			return r
		}
	}
	return nil
}

// Violations returns all violations of the rules for a key's own spec and of its account's policy, at most one per
// check. It does not check the limit. If the account does not allow the namespace of the key, that is the last one.
func Violations(f Facts) []Violation {
	var list []Violation
	for _, check := range policyChecks {
		if r := check(f); r != nil {
			list = append(list, *r)
			if r.Reason == v1alpha1.ReasonNamespaceNotAllowed {
				break
			}
		}
	}
	return list
}

// policyChecks lists the checks in their order. The result of a check after checkNamespace may depend on any data of the
// account, which users of a namespace that the account does not allow must not learn.
var policyChecks = []func(Facts) *Violation{
	checkDecoded, checkSpec, checkLabelText, checkAccount, checkNamespace, checkRendering, checkLabel, checkScopes, checkRateLimits,
	checkExpiration, checkWhitelist, checkImport, checkDuplicate,
}

func violationf(reason, format string, args ...any) *Violation {
	return &Violation{Reason: reason, Message: truncate(fmt.Sprintf(format, args...))}
}

func checkSpec(f Facts) *Violation {
	if errs := ValidateAPIKey(f.Key); len(errs) > 0 {
		return violationf(v1alpha1.ReasonInvalidSpec, "%s", errs[0].Error())
	}
	if errs := validateReservedDomains(secretTemplate(f.Key), f.Settings.ReservedDomains, templatePath); len(errs) > 0 {
		return violationf(v1alpha1.ReasonInvalidSpec, "%s", errs[0].Error())
	}
	if f.Account == nil {
		return nil
	}
	if _, err := f.expiration(); err != nil {
		return violationf(
			v1alpha1.ReasonInvalidSpec,
			"spec.expiration is a date, but spec.timeZone of account %s is unknown to the manager: correct the time zone, or "+
				"use an RFC 3339 instant",
			f.Account.Name,
		)
	}
	return nil
}

func checkAccount(f Facts) *Violation {
	switch {
	case f.Account == nil && f.Settings.RequireAccount:
		return violationf(v1alpha1.ReasonAccountNotFound, "Account %s does not exist: create it, or correct spec.account", f.Key.Spec.Account)
	case f.Account != nil && f.Account.Spec.State == v1alpha1.AccountSuspended:
		return violationf(
			v1alpha1.ReasonAccountSuspended,
			"Account %s is suspended: its keys are valid again once spec.state of the account is Active",
			f.Account.Name,
		)
	}
	return nil
}

func checkNamespace(f Facts) *Violation {
	if f.Account == nil || f.Account.Spec.AllowedNamespaces == nil {
		return nil
	}
	selector, err := namespaceSelector(f.Account)
	if err != nil {
		return violationf(
			v1alpha1.ReasonNamespaceNotAllowed,
			"spec.allowedNamespaces of account %s is not a valid selector, so no namespace is allowed: correct it",
			f.Account.Name,
		)
	}
	if !selector.Matches(labels.Set(f.NamespaceLabels)) {
		return violationf(
			v1alpha1.ReasonNamespaceNotAllowed,
			"Account %s does not allow keys in namespace %s: see spec.allowedNamespaces of the account",
			f.Account.Name,
			f.Key.Namespace,
		)
	}
	return nil
}

// checkRendering refuses a template that cannot be rendered with the data of the account.
func checkRendering(f Facts) *Violation {
	if f.Account == nil {
		return nil
	}
	err := f.Template.result(f.Key, f.Account)
	if failed, ok := errors.AsType[*TemplateError](f.Err); ok {
		err = failed // with the real credential
	}
	if err != nil {
		return violationf(v1alpha1.ReasonInvalidSpec, "spec.secret.template.data: %s", err)
	}
	return nil
}

func namespaceSelector(a *v1alpha1.Account) (labels.Selector, error) {
	return metav1.LabelSelectorAsSelector(a.Spec.AllowedNamespaces)
}

// checkLabel refuses a label that another key of the account has. It names that key only if it is in the same
// namespace, because users must not learn what other namespaces contain.
func checkLabel(f Facts) *Violation {
	holder, known := labelHolder(f.Key, f.Account, f.Siblings)
	if holder == "" || !known {
		return nil
	}
	if namespace, _, _ := strings.Cut(holder, "/"); namespace != f.Key.Namespace {
		return violationf(v1alpha1.ReasonLabelTaken, "Another key of account %s has the same spec.label: choose another label", f.Account.Name)
	}
	return violationf(
		v1alpha1.ReasonLabelTaken,
		"Account %s has another key with the same spec.label, APIKey %s: choose another label",
		f.Account.Name,
		holder,
	)
}

// isPredecessor reports whether a slot belongs to a deleted key of the same name. Such a slot is about to become free.
func isPredecessor(s v1alpha1.Slot, k *v1alpha1.APIKey) bool {
	return s.Namespace == k.Namespace && s.Name == k.Name && s.UID != string(k.UID)
}

// compareAge orders keys by creation time, then UID: the older first. A key that is still being created has no UID and
// counts as the youngest.
func compareAge(a, b *v1alpha1.APIKey) int {
	if a.UID == "" || b.UID == "" {
		return cmp.Compare(len(b.UID), len(a.UID))
	}
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.UID, b.UID))
}

func checkScopes(f Facts) *Violation {
	if f.Account == nil || len(f.Account.Spec.AllowedScopes) == 0 {
		return nil
	}
	for _, wanted := range EffectiveScopes(f.Key, f.Account) {
		if !coveredByAny(f.Account.Spec.AllowedScopes, wanted) {
			return violationf(
				v1alpha1.ReasonScopeNotAllowed,
				"Account %s does not allow scope %s in spec.scopes; it allows %s",
				f.Account.Name,
				wanted,
				strings.Join(f.Account.Spec.AllowedScopes, ", "),
			)
		}
	}
	return nil
}

func coveredByAny(granted []string, wanted string) bool {
	for _, g := range granted {
		if Covers(g, wanted) {
			return true
		}
	}
	return false
}

func checkExpiration(f Facts) *Violation {
	if f.Account == nil || f.Account.Spec.ExpirationPolicy == nil {
		return nil
	}
	expiration, _ := f.expiration() // checkSpec refuses a spec for which this fails
	if f.accepted() && sameInstant(expiration, f.Key.Status.ExpirationTime) {
		return nil // issued under an earlier policy, and unchanged since
	}
	policy, account := f.Account.Spec.ExpirationPolicy, f.Account.Name
	switch {
	case policy.Mode == v1alpha1.ExpirationRequired && expiration == nil:
		return violationf(v1alpha1.ReasonExpirationRequired, "Account %s requires keys to expire: set spec.expiration", account)
	case policy.Mode == v1alpha1.ExpirationForbidden && expiration != nil:
		return violationf(v1alpha1.ReasonExpirationForbidden, "Account %s does not allow keys to expire: remove spec.expiration", account)
	case policy.MaxLifetime == "" || expiration == nil:
		return nil
	}
	longest, err := time.ParseDuration(string(policy.MaxLifetime))
	if err != nil || expiration.After(f.created().Add(longest)) {
		return violationf(
			v1alpha1.ReasonLifetimeTooLong,
			"Account %s limits the lifetime of keys to %s from their creation: set an earlier spec.expiration",
			account,
			policy.MaxLifetime,
		)
	}
	return nil
}

func checkWhitelist(f Facts) *Violation {
	if f.Account == nil || f.Account.Spec.IPWhitelistPolicy != v1alpha1.IPWhitelistRequired || len(f.Key.Spec.IPWhitelist) > 0 {
		return nil
	}
	if f.accepted() && f.Key.Status.IPRestriction == v1alpha1.IPUnrestricted {
		return nil // issued under an earlier policy, and unchanged since
	}
	return violationf(
		v1alpha1.ReasonIPWhitelistRequired,
		"Account %s requires keys to have an IP whitelist: set spec.ipWhitelist",
		f.Account.Name,
	)
}

// accepted reports whether the key was accepted before, so that its status records the values that were accepted.
func (f *Facts) accepted() bool { return Issued(f.Key) && f.Key.Status.IPRestriction != "" }

// created returns the creation time of the key, or the current time for a key that is being created.
func (f *Facts) created() time.Time {
	if f.Key.CreationTimestamp.IsZero() {
		return f.Now
	}
	return f.Key.CreationTimestamp.Time
}

// expiration returns the instant at which the key expires according to the spec, or nil if it never does.
func (f *Facts) expiration() (*time.Time, error) {
	zone := ""
	if f.Account != nil {
		zone = f.Account.Spec.TimeZone
	}
	return ResolveExpiration(f.Key.Spec.Expiration, zone)
}

func sameInstant(a *time.Time, b *metav1.Time) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Equal(b.Time)
}

// TruncateMessage shortens a message of a condition to 256 bytes at most, without splitting a character.
func TruncateMessage(s string) string { return truncate(s) }

// truncate shortens a message to 256 bytes at most, without splitting a character.
func truncate(s string) string {
	const longest = 256
	return truncateTo(s, longest)
}

// truncateTo shortens a message to longest bytes at most, without splitting a character.
func truncateTo(s string, longest int) string {
	if len(s) <= longest {
		return s
	}
	return cut(s, longest-3) + "..."
}

// cut returns at most the first longest bytes of a text, without splitting a character.
func cut(s string, longest int) string {
	return strings.ToValidUTF8(s[:min(longest, len(s))], "")
}
