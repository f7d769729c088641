// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"strings"
	"sync/atomic"
	"time"

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

// policy holds what the keys of an account need of the Account.
type policy struct {
	*accountSettings

	// declaredID holds the external ID in the spec of the account. Another account that is older may own it: see ownsID.
	declaredID string
	// uuid holds the UID of the Account in a short form. Otherwise uid holds it.
	uuid uuid
	uid  *string
	// createdAt and the UID order accounts by age.
	createdAt instant
	// ownsID reports whether the account owns its declared external ID.
	ownsID bool
}

// accountSettings holds the settings of an Account that apply to all its keys. Accounts share equal settings.
type accountSettings struct {
	suspended bool
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

// newPolicy returns the policy of an Account with the given settings.
func newPolicy(a *v1alpha1.Account, s *accountSettings) *policy {
	p := &policy{accountSettings: s, declaredID: a.Spec.ExternalID, createdAt: newInstant(a.CreationTimestamp.Unix())}
	var isUUID bool
	if p.uuid, isUUID = parseUUID(string(a.UID)); !isUUID {
		uid := string(a.UID)
		p.uid = &uid
	}
	return p
}

// externalID returns the external ID that the account owns, or "".
func (p *policy) externalID() string {
	if p.ownsID {
		return p.declaredID
	}
	return ""
}

// uidText returns the UID of the Account.
func (p *policy) uidText() string {
	if p.uid != nil {
		return *p.uid
	}
	return p.uuid.String()
}

// allowsKey reports whether the policy of the account allows a key to be used.
func (p *policy) allowsKey(k *key) bool {
	switch {
	case p.selector != nil && !k.namespace().isIn(p.selector):
		return false
	case p.whitelistRequired && k.profile().networks == nil && !k.acceptedUnrestricted:
		return false
	}
	return p.allowedScopes == nil || p.allowsScopes(p.scopesOf(k))
}

// scopesOf returns the scopes of a key, separated by commas: its own, or the default scopes of the account.
func (p *policy) scopesOf(k *key) string {
	if scopes := k.profile().scopes.Value(); scopes != "" {
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
