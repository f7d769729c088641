// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Settings holds the settings of the manager's flags, most of which apply where an Account specifies nothing.
type Settings struct {
	// MaxKeys limits the keys of an account.
	MaxKeys int32
	// DeletionPolicy determines whether keys may be deleted.
	DeletionPolicy v1alpha1.DeletionPolicy
	// Namespaces lists the namespaces in which the manager issues keys. If empty, it issues keys in all namespaces.
	Namespaces []string
	// RequireAccount prevents the manager from creating the Accounts that keys name.
	RequireAccount bool
	// AccountCreationDelay specifies how old a key must be before the manager creates the Account that it names.
	AccountCreationDelay time.Duration
	// Verifiers reports whether the manager polls verifiers for the keys that they refuse.
	Verifiers bool
	// ReservedDomains lists domains, in addition to those that are always reserved, whose names a template must not use
	// in types, labels and annotations, because other tools act on them.
	ReservedDomains []string
	// MailDomains specifies the domains to which mail may be sent.
	MailDomains MailDomains
	// MaxMails limits the mails that are sent for an account on a day. 0 means no limit.
	MaxMails int32
}

// WatchesNamespace reports whether the manager issues keys in a namespace.
func (d Settings) WatchesNamespace(name string) bool {
	return len(d.Namespaces) == 0 || slices.Contains(d.Namespaces, name)
}

// Watched returns the keys without those that the manager never issued because it does not watch their namespace. They take
// neither slots nor labels.
func (d Settings) Watched(list []*v1alpha1.APIKey) []*v1alpha1.APIKey {
	if len(d.Namespaces) == 0 {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(k *v1alpha1.APIKey) bool {
		return !d.WatchesNamespace(k.Namespace) && !MayBeIssued(k)
	})
}

// Limit returns how many keys may hold a slot, or that there is no limit.
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

// Deletion returns the deletion policy that applies to the account's keys.
func (d Settings) Deletion(a *v1alpha1.Account) v1alpha1.DeletionPolicy {
	if a != nil && a.Spec.DeletionPolicy != "" {
		return a.Spec.DeletionPolicy
	}
	if a != nil && wasNotDecoded(a.Undecodable, "spec.deletionPolicy") {
		return cmp.Or(a.Status.DeletionPolicy, v1alpha1.DeletionForbid) // the last policy that could be decoded, or else the strictest
	}
	if d.DeletionPolicy != "" {
		return d.DeletionPolicy
	}
	return v1alpha1.DeletionAllow
}

func countsUsableOnly(a *v1alpha1.Account) bool {
	return a.Spec.Limits != nil && a.Spec.Limits.Counting == v1alpha1.CountUsable
}

// AllowsQueueing reports whether a key may be created while the account is at its limit, and waits for a slot.
func AllowsQueueing(a *v1alpha1.Account) bool {
	return a.Spec.Limits != nil && a.Spec.Limits.Enforcement == v1alpha1.EnforcementQueue
}

// EffectiveScopes returns the scopes of the key, or the default scopes of its account if the key has none.
func EffectiveScopes(k *v1alpha1.APIKey, a *v1alpha1.Account) []string {
	if len(k.Spec.Scopes) > 0 || a == nil || a.Spec.KeyDefaults == nil {
		return k.Spec.Scopes
	}
	return a.Spec.KeyDefaults.Scopes
}

// Covers reports whether a granted scope covers a wanted one. A trailing * in granted matches the rest. A * in wanted
// is covered only by an equal or wider scope.
func Covers(granted, wanted string) bool {
	if prefix, wide := strings.CutSuffix(granted, "*"); wide {
		return strings.HasPrefix(wanted, prefix)
	}
	return granted == wanted
}
