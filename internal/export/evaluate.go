// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// Candidate holds a key that an export may hold, and what decides about it. The objects must not change while the Export
// is in use.
type Candidate struct {
	// Key holds the APIKey.
	Key *v1alpha1.APIKey
	// Account holds the account of the key as its keys use it, see keys.WithHeldExternalID. It is nil if the account
	// does not exist.
	Account *v1alpha1.Account
	// NamespaceLabels holds the labels of the key's namespace. It is nil if the namespace is not known.
	NamespaceLabels map[string]string
	// Shadowed lists the digests of the key's credentials that were issued to another key first, see
	// keys.FindSharedDigests.
	Shadowed []string
}

// Evaluation holds what an export may hold of a key.
type Evaluation struct {
	// Credentials holds the credentials that verifiers accept now from some address and that may be exported. It must
	// not be changed.
	Credentials []v1alpha1.Credential
	// Withheld holds the reason for which accepted credentials of a selected key are withheld, or "". It is a reason of
	// status.withheld.
	Withheld string
	// Next holds the time at which the evaluation changes although no object does. The zero time means never.
	Next time.Time
}

// Selects reports whether the spec selects a key, whether or not verifiers accept it.
func (x *Export) Selects(c Candidate) bool {
	switch {
	case x.accounts != nil && !x.accounts[c.Key.Spec.Account]:
		return false
	case x.accountSelector != nil && (c.Account == nil || !x.accountSelector.Matches(labels.Set(c.Account.Labels))):
		return false
	case x.namespaceSelector != nil && (c.NamespaceLabels == nil || !x.namespaceSelector.Matches(labels.Set(c.NamespaceLabels))):
		return false
	case len(x.spec.Scopes) == 0:
		return true
	}
	granted := keys.EffectiveScopes(c.Key, c.Account)
	return !slices.ContainsFunc(x.spec.Scopes, func(wanted string) bool {
		return !slices.ContainsFunc(granted, func(scope string) bool { return keys.Covers(scope, wanted) })
	})
}

// Evaluate returns what the export may hold of a key at a time.
func (x *Export) Evaluate(c Candidate, now time.Time) Evaluation {
	if !x.Selects(c) {
		return Evaluation{}
	}
	accepted, next := x.acceptanceOf(c.Account).Credentials(c.Key, c.NamespaceLabels, now)
	if len(accepted) == 0 {
		return Evaluation{}
	}
	e := Evaluation{Credentials: accepted, Next: next}
	switch {
	case !x.allowedBy(c.Account):
		e.Credentials, e.Withheld = nil, v1alpha1.ReasonExportNotAllowed
	case c.Key.Spec.IPWhitelist != nil && x.spec.AddressRestricted != v1alpha1.AddressRestrictedInclude:
		e.Credentials, e.Withheld = nil, v1alpha1.ReasonAddressRestricted
	case len(c.Shadowed) > 0:
		e.Credentials = slices.DeleteFunc(slices.Clone(accepted), func(credential v1alpha1.Credential) bool {
			return slices.Contains(c.Shadowed, credential.SHA256)
		})
		if len(e.Credentials) < len(accepted) {
			e.Withheld = v1alpha1.ReasonDuplicateKey
		}
	}
	return e
}

// allowedBy reports whether the exportPolicy of an account allows the content of the export.
func (x *Export) allowedBy(a *v1alpha1.Account) bool {
	switch a.Spec.ExportPolicy {
	case v1alpha1.ExportKey:
		return true
	case v1alpha1.ExportDigest, "":
		return x.spec.Content == v1alpha1.ExportContentDigest
	case v1alpha1.ExportForbid:
	}
	return false
}

// cachedAcceptance holds the Acceptance of one version of an account.
type cachedAcceptance struct {
	uid             types.UID
	resourceVersion string
	acceptance      *keys.Acceptance
}

// acceptanceOf returns the Acceptance of the keys of an account, which is nil if it does not exist.
func (x *Export) acceptanceOf(a *v1alpha1.Account) *keys.Acceptance {
	if a == nil || a.ResourceVersion == "" {
		return keys.NewAcceptance(a)
	}
	cached, ok := x.acceptances[a.Name]
	if !ok || cached.uid != a.UID || cached.resourceVersion != a.ResourceVersion {
		cached = cachedAcceptance{a.UID, a.ResourceVersion, keys.NewAcceptance(a)}
		x.acceptances[a.Name] = cached
	}
	return cached.acceptance
}
