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

// account is what all keys of an account share, so that one store reaches all of them.
type account struct {
	name string
	// keyCount counts the keys that name it.
	keyCount int
	// policy is nil while the account is not known. It is never changed, only replaced.
	policy atomic.Pointer[policy]
}

// policy is what an Account has to say about every use of its keys.
type policy struct {
	suspended bool
	// externalID is the external ID that the account holds; declaredID is the one in its spec, which an older account may
	// hold already.
	externalID, declaredID string
	// createdAt and uid order accounts by age.
	createdAt int64
	uid       string
	zone      *time.Location
	// scopes are what keys that name none may do, joined by commas.
	scopes string
	// allowedScopes bounds what keys may do; nil: it does not.
	allowedScopes []string
	// whitelistRequired refuses keys without a whitelist that were not accepted so.
	whitelistRequired bool
	// selector picks the namespaces whose keys may be used; nil: all.
	selector labels.Selector
}

func newPolicy(a *v1alpha1.Account) *policy {
	p := &policy{
		suspended: a.Spec.State == v1alpha1.AccountSuspended, declaredID: a.Spec.ExternalID,
		createdAt: a.CreationTimestamp.Unix(), uid: string(a.UID),
		allowedScopes: a.Spec.AllowedScopes, whitelistRequired: a.Spec.IPWhitelistPolicy == v1alpha1.IPWhitelistRequired,
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

// allowsKey is whether the account's policy lets a key be used at all.
func (p *policy) allowsKey(k *key) bool {
	switch {
	case p.selector != nil && !k.namespace.isIn(p.selector):
		return false
	case p.whitelistRequired && k.networks == nil && !k.acceptedUnrestricted:
		return false
	}
	return p.allowedScopes == nil || p.allowsScopes(p.scopesOf(k))
}

// scopesOf are what a key may do, joined by commas: its own scopes, or else the account's default ones.
func (p *policy) scopesOf(k *key) string {
	if k.scopes == "" {
		return p.scopes
	}
	return k.scopes
}

// allowsScopes is whether every scope of a list, joined by commas, is covered by one that the account allows.
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
