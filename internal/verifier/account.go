// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"strings"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// account holds the state that all keys of an account share, so that one atomic store updates all of them.
type account struct {
	name string
	// keyCount counts the keys that name the account.
	keyCount int
	// policy is nil if the Account is not known. It is replaced, never modified.
	policy atomic.Pointer[policy]
}

// policy holds the settings of an Account that apply to all its keys.
type policy struct {
	suspended bool
	// externalID holds the external ID that the account owns. declaredID holds the one in its spec, which an older
	// account may own.
	externalID, declaredID string
	// createdAt and uid order accounts by age.
	createdAt int64
	uid       string
	zone      *time.Location
	// scopes holds the scopes of keys that name none, separated by commas.
	scopes string
	// allowedScopes limits the scopes of keys. A nil value allows all scopes.
	allowedScopes []string
	// whitelistRequired refuses keys without a whitelist, except those that the manager accepted without one.
	whitelistRequired bool
	// selector selects the namespaces whose keys may be used. A nil value selects all.
	selector labels.Selector
	// attributes is never nil.
	attributes *attributes
}

func newPolicy(a *v1alpha1.Account) *policy {
	p := &policy{
		suspended: a.Spec.State == v1alpha1.AccountSuspended, declaredID: a.Spec.ExternalID,
		createdAt: a.CreationTimestamp.Unix(), uid: string(a.UID),
		allowedScopes: a.Spec.AllowedScopes, whitelistRequired: a.Spec.IPWhitelistPolicy == v1alpha1.IPWhitelistRequired,
		attributes: newAttributes(&a.Spec),
	}
	if d := a.Spec.KeyDefaults; d != nil {
		p.scopes = strings.Join(d.Scopes, ",")
	}
	if zone, err := keys.LoadZone(a.Spec.TimeZone); err == nil {
		p.zone = zone
	}
	if a.Spec.AllowedNamespaces == nil {
		return p
	}
	selector, err := metav1.LabelSelectorAsSelector(a.Spec.AllowedNamespaces)
	if err != nil {
		selector = labels.Nothing() // fail closed, as the manager does
	}
	p.selector = selector
	return p
}

// allowsKey reports whether the policy of the account allows a key to be used.
func (p *policy) allowsKey(k *key) bool {
	switch {
	case p.selector != nil && !k.namespace.isIn(p.selector):
		return false
	case p.whitelistRequired && k.networks == nil && !k.acceptedUnrestricted:
		return false
	}
	return p.allowedScopes == nil || p.allowsScopes(p.scopesOf(k))
}

// scopesOf returns the scopes of a key, separated by commas: its own, or the default scopes of the account.
func (p *policy) scopesOf(k *key) string {
	if scopes := k.scopes.Value(); scopes != "" {
		return scopes
	}
	return p.scopes
}

// allowsScopes reports whether the allowed scopes of the account cover every scope in a list that is separated by
// commas.
func (p *policy) allowsScopes(scopes string) bool {
	for wanted := range strings.SplitSeq(scopes, ",") {
		if wanted != "" && !p.allowsScope(wanted) {
			return false
		}
	}
	return true
}

func (p *policy) allowsScope(wanted string) bool {
	for _, granted := range p.allowedScopes {
		if keys.Covers(granted, wanted) {
			return true
		}
	}
	return false
}
