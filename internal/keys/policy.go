// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"
	"strings"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Settings are what the manager's flags say where an Account says nothing.
type Settings struct {
	// MaxKeys is how many keys an account may have.
	MaxKeys int32
	// DeletionPolicy is whether keys may be deleted.
	DeletionPolicy v1alpha1.DeletionPolicy
	// RequireAccount keeps the manager from creating Accounts that a key names.
	RequireAccount bool
	// AccountCreationDelay is how old a key must be before the manager creates the Account that it names.
	AccountCreationDelay time.Duration
	// Verifiers is whether the manager asks verifiers what they enforce.
	Verifiers bool
	// ReservedDomains are further domains, besides those that are always reserved, whose names a template must not use in
	// types, labels and annotations: tools act upon them.
	ReservedDomains []string
	// MailDomains are the domains to which mail may go.
	MailDomains MailDomains
	// MaxMails is how many mails an account may have sent on a day; 0: any number.
	MaxMails int32
}

// Limit is how many keys may hold a slot, or that there is no limit.
func (d Settings) Limit(a *v1alpha1.Account) (limit int, unlimited bool) {
	l := a.Spec.Limits
	switch {
	case l == nil:
		return int(d.MaxKeys), false
	case l.Unlimited == v1alpha1.SwitchEnabled:
		return 0, true
	case l.MaxKeys == nil:
		return int(d.MaxKeys), false
	}
	return int(*l.MaxKeys), false
}

// Deletion is the deletion policy in force.
func (d Settings) Deletion(a *v1alpha1.Account) v1alpha1.DeletionPolicy {
	if a != nil && a.Spec.DeletionPolicy != "" {
		return a.Spec.DeletionPolicy
	}
	if a != nil && wasNotDecoded(a.Undecodable, "spec.deletionPolicy") {
		return cmp.Or(a.Status.DeletionPolicy, v1alpha1.DeletionForbid) // the last that could be decoded, or else none is lost
	}
	if d.DeletionPolicy != "" {
		return d.DeletionPolicy
	}
	return v1alpha1.DeletionAllow
}

func countsUsableOnly(a *v1alpha1.Account) bool {
	return a.Spec.Limits != nil && a.Spec.Limits.Counting == v1alpha1.CountUsable
}

// AllowsQueueing is whether a key too many may be created, to wait for a slot.
func AllowsQueueing(a *v1alpha1.Account) bool {
	return a.Spec.Limits != nil && a.Spec.Limits.Enforcement == v1alpha1.EnforcementQueue
}

// EffectiveScopes are the key's scopes, or the account's default scopes for a key that names none.
func EffectiveScopes(k *v1alpha1.APIKey, a *v1alpha1.Account) []string {
	if len(k.Spec.Scopes) > 0 || a == nil || a.Spec.KeyDefaults == nil {
		return k.Spec.Scopes
	}
	return a.Spec.KeyDefaults.Scopes
}

// Covers is whether a granted scope covers a wanted one. A trailing * in granted matches the rest; a * in wanted is
// covered only by an equal or wider one.
func Covers(granted, wanted string) bool {
	if prefix, wide := strings.CutSuffix(granted, "*"); wide {
		return strings.HasPrefix(wanted, prefix)
	}
	return granted == wanted
}
