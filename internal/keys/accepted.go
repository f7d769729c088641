// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"math"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// This file decides which credentials verifiers accept, for KeyExports, whose gateways accept whatever they hold. It is a
// separate implementation of what package verifier decides for each request, because that package depends on how an index
// is updated. A property in the tests of package export compares both.

// AcceptedCredentials returns the credentials of a key that verifiers accept now from some address, in the order of the
// status, and the next time at which the passage of time changes the result. The zero time means never. Restrictions in
// the spec apply at once, relaxations when the status shows them, as in verifiers. A credential that was issued to another
// key first is not excluded, see FindSharedDigests. The account is nil if it does not exist, and namespaceLabels is nil if
// the namespace is not known. The result must not be changed.
func AcceptedCredentials(
	k *v1alpha1.APIKey,
	a *v1alpha1.Account,
	namespaceLabels map[string]string,
	now time.Time,
) (accepted []v1alpha1.Credential, next time.Time) {
	return NewAcceptance(a).Credentials(k, namespaceLabels, now)
}

// Acceptance holds what an account determines about the acceptance of its keys. It saves work if an account has many
// keys.
type Acceptance struct {
	account *v1alpha1.Account
	// selector is nil if the account allows all namespaces.
	selector labels.Selector
	// zone is nil if the time zone is not known.
	zone *time.Location
}

// NewAcceptance returns the Acceptance of the keys of an account, which is nil if it does not exist.
func NewAcceptance(a *v1alpha1.Account) *Acceptance {
	if a == nil || len(a.Undecodable) > 0 || a.Spec.State == v1alpha1.AccountSuspended {
		return &Acceptance{}
	}
	p := &Acceptance{account: a}
	if zone, err := LoadZone(a.Spec.TimeZone); err == nil {
		p.zone = zone
	}
	if a.Spec.AllowedNamespaces == nil {
		return p
	}
	selector, err := namespaceSelector(a)
	if err != nil {
		return &Acceptance{}
	}
	p.selector = selector
	return p
}

// Credentials returns what AcceptedCredentials returns for a key of the account.
func (p *Acceptance) Credentials(
	k *v1alpha1.APIKey,
	namespaceLabels map[string]string,
	now time.Time,
) (accepted []v1alpha1.Credential, next time.Time) {
	if !p.allows(k, namespaceLabels) {
		return nil, time.Time{}
	}
	keyEnd, ok := p.keyEnd(k)
	revokeBefore, valid := revocationTime(k)
	if !ok || !valid {
		return nil, time.Time{}
	}
	list, second, nextEnd := k.Status.Credentials, now.Unix(), int64(math.MaxInt64)
	all := true
	for i := range list {
		end := min(keyEnd, credentialEnd(&list[i], revokeBefore))
		if end <= second || isSuperseded(k, i) {
			if all {
				accepted, all = slices.Clone(list[:i]), false
			}
			continue
		}
		nextEnd = min(nextEnd, end)
		if !all {
			accepted = append(accepted, list[i])
		}
	}
	if all {
		accepted = slices.Clip(list)
	}
	if nextEnd < math.MaxInt64 {
		next = time.Unix(nextEnd, 0).UTC()
	}
	return accepted, next
}

// allows reports whether verifiers accept credentials of a key, as far as time has no influence.
func (p *Acceptance) allows(k *v1alpha1.APIKey, namespaceLabels map[string]string) bool {
	switch {
	case p.account == nil || p.account.Name != k.Spec.Account,
		!k.DeletionTimestamp.IsZero() || len(k.Undecodable) > 0,
		k.Spec.State != "" && k.Spec.State != v1alpha1.KeyStateActive || k.Status.State != v1alpha1.StateActive:
		return false
	case p.selector != nil && (namespaceLabels == nil || !p.selector.Matches(labels.Set(namespaceLabels))):
		return false
	}
	return p.allowsWhitelist(k) && p.allowsScopes(k)
}

// allowsWhitelist reports whether the account allows the whitelist of a key, and whether the whitelist contains any
// address.
func (p *Acceptance) allowsWhitelist(k *v1alpha1.APIKey) bool {
	if k.Spec.IPWhitelist == nil {
		return p.account.Spec.IPWhitelistPolicy != v1alpha1.IPWhitelistRequired || k.Status.IPRestriction == v1alpha1.IPUnrestricted
	}
	return slices.ContainsFunc(k.Spec.IPWhitelist, func(entry string) bool {
		_, err := ParseNetwork(entry)
		return err == nil
	})
}

func (p *Acceptance) allowsScopes(k *v1alpha1.APIKey) bool {
	allowed := p.account.Spec.AllowedScopes
	return allowed == nil || !slices.ContainsFunc(EffectiveScopes(k, p.account), func(scope string) bool { return !coveredBy(allowed, scope) })
}

// coveredBy reports whether one of the granted scopes covers a wanted one.
func coveredBy(granted []string, wanted string) bool {
	return slices.ContainsFunc(granted, func(scope string) bool { return Covers(scope, wanted) })
}

// keyEnd returns the second from which on verifiers reject all credentials of a key: the earlier of what the spec and the
// status say. ok is false if the expiration of the spec is invalid, or is a date and the time zone is not known.
func (p *Acceptance) keyEnd(k *v1alpha1.APIKey) (end int64, ok bool) {
	end = secondOf(k.Status.ExpirationTime)
	if k.Spec.Expiration == "" {
		return end, true
	}
	if t, err := ParseInstant(k.Spec.Expiration); err == nil {
		return min(end, t.Unix()), true
	}
	day, err := ParseDate(k.Spec.Expiration)
	if err != nil || p.zone == nil {
		return 0, false
	}
	return min(end, StartOfDay(day, p.zone).Unix()), true
}

// revocationTime returns spec.rotation.revokeBefore, or nil if there is none. valid is false if it can't be parsed.
func revocationTime(k *v1alpha1.APIKey) (t *metav1.Time, valid bool) {
	if k.Spec.Rotation == nil || k.Spec.Rotation.RevokeBefore == "" {
		return nil, true
	}
	t = instant(k.Spec.Rotation.RevokeBefore)
	return t, t != nil
}

// credentialEnd returns the second from which on verifiers reject a credential of an active key.
func credentialEnd(c *v1alpha1.Credential, revokeBefore *metav1.Time) int64 {
	end := secondOf(c.NotAfter)
	if revokeBefore != nil && c.IssuedAt.Before(revokeBefore) {
		end = min(end, revokeBefore.Unix())
	}
	return end
}

// secondOf returns a time in seconds since the Unix epoch, or the greatest number if there is none.
func secondOf(t *metav1.Time) int64 {
	if t == nil {
		return math.MaxInt64
	}
	return t.Unix()
}

// isSuperseded reports whether verifiers don't use credential i of a status: because its digest is not valid, because the
// status lists it as revoked, or because a later credential has the same digest.
func isSuperseded(k *v1alpha1.APIKey, i int) bool {
	list, digest := k.Status.Credentials, k.Status.Credentials[i].SHA256
	return !isDigest(digest) ||
		slices.ContainsFunc(list[i+1:], func(c v1alpha1.Credential) bool { return c.SHA256 == digest }) ||
		slices.ContainsFunc(k.Status.RevokedCredentials, func(r v1alpha1.RevokedCredential) bool { return r.SHA256 == digest })
}

// isDigest reports whether a text is a SHA-256 digest of lower-case hexadecimal digits.
func isDigest(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == 64
}
