// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"reflect"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// attributes holds the settings of a key or an account that verifiers pass to gateways and do not interpret.
type attributes struct {
	// plan is set on accounts only.
	plan       string
	metadata   Metadata
	rateLimits []v1alpha1.RateLimit
}

// Metadata holds the metadata of a key, sorted by name.
type Metadata []MetadataEntry

// MetadataEntry is an entry of Metadata.
type MetadataEntry struct{ Name, Value string }

// Get returns the value of the entry with a name, or "".
func (m Metadata) Get(name string) string {
	for i := range m {
		if m[i].Name == name {
			return m[i].Value
		}
	}
	return ""
}

// newMetadata returns the entries of a map.
func newMetadata[V ~string](entries map[string]V) Metadata {
	if len(entries) == 0 {
		return nil
	}
	m := make(Metadata, 0, len(entries))
	for name, value := range entries {
		m = append(m, MetadataEntry{Name: name, Value: string(value)})
	}
	slices.SortFunc(m, func(a, b MetadataEntry) int { return strings.Compare(a.Name, b.Name) })
	return m
}

// Map returns the entries as a map.
func (m Metadata) Map() map[string]v1alpha1.MetadataValue {
	entries := make(map[string]v1alpha1.MetadataValue, len(m))
	for _, e := range m {
		entries[e.Name] = v1alpha1.MetadataValue(e.Value)
	}
	return entries
}

// size estimates the bytes that the attributes take.
func (a *attributes) size() int {
	const entrySize, rateLimitSize = 64, 128
	size := len(a.metadata)*entrySize + len(a.rateLimits)*rateLimitSize
	for i := range a.metadata {
		size += len(a.metadata[i].Name) + len(a.metadata[i].Value)
	}
	return size
}

// noAttributes holds the attributes of accounts that have none.
var noAttributes attributes

// newAttributes returns the attributes of an account.
func newAttributes(spec *v1alpha1.AccountSpec) *attributes {
	if spec.Plan == "" && len(spec.Metadata) == 0 && len(spec.RateLimits) == 0 {
		return &noAttributes
	}
	return &attributes{plan: spec.Plan, metadata: newMetadata(spec.Metadata), rateLimits: spec.RateLimits}
}

// keepSettings makes p share the attributes of the policy before it if they are equal, so that those of the keys are not
// computed again after each write of the status of an Account.
func (p *policy) keepSettings(before *policy) {
	if p.attributes != before.attributes && reflect.DeepEqual(p.attributes, before.attributes) {
		s := *p.accountSettings
		s.attributes = before.attributes
		p.accountSettings = &s
	}
}

// keyAttributes holds the attributes of a key that has some.
type keyAttributes struct {
	attributes

	// effective holds the attributes that the last verdict computed.
	effective atomic.Pointer[effectiveAttributes]
}

// effectiveAttributes holds the attributes of a key under those of its account.
type effectiveAttributes struct {
	attributes

	// account holds those of the account. It is not the policy, so that a key that is no longer used keeps no policy in memory.
	account *attributes
}

// newKeyAttributes returns the attributes of a key, or nil if it has none.
func newKeyAttributes(spec *v1alpha1.APIKeySpec) *keyAttributes {
	if len(spec.Metadata) == 0 && len(spec.RateLimits) == 0 {
		return nil
	}
	return &keyAttributes{attributes: attributes{metadata: newMetadata(spec.Metadata), rateLimits: spec.RateLimits}}
}

// attributesOf returns the attributes of a key under the policy: metadata of the account takes precedence, and rate
// limits of the key only lower those of the account. It computes them once for the attributes of an account.
func (p *policy) attributesOf(k *key) *attributes {
	own := k.profile().attributes
	if own == nil {
		return p.attributes
	}
	if known := own.effective.Load(); known != nil && known.account == p.attributes {
		return &known.attributes
	}
	effective := &effectiveAttributes{account: p.attributes, attributes: attributes{
		plan:       p.attributes.plan,
		metadata:   mergeMetadata(own.metadata, p.attributes.metadata),
		rateLimits: keys.EffectiveRateLimits(own.rateLimits, p.attributes.rateLimits),
	}}
	own.effective.Store(effective)
	return &effective.attributes
}

// mergeMetadata returns the effective metadata of a key. If only one of the two has entries, the result shares them.
func mergeMetadata(own, account Metadata) Metadata {
	switch {
	case len(account) == 0:
		return own
	case len(own) == 0:
		return account
	}
	return newMetadata(keys.EffectiveMetadata(own.Map(), account.Map()))
}
