// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"reflect"
	"strings"
	"unique"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// settings holds the settings of a key that its record cannot hold, because they have pointers.
type settings struct {
	// scopes holds the scopes of the key, separated by commas. If empty, the default scopes of the account apply.
	scopes unique.Handle[string]
	// networks holds the whitelist. A nil value allows any address.
	networks *networks
	// attributes is nil if the key has none of its own, as most keys.
	attributes *keyAttributes
}

func newSettings(spec *v1alpha1.APIKeySpec) settings {
	return settings{
		scopes: unique.Make(strings.Join(spec.Scopes, ",")), networks: parseNetworks(spec.IPWhitelist), attributes: newKeyAttributes(spec),
	}
}

// isPlain reports whether the settings consist of scopes only, as those of most keys.
func (s *settings) isPlain() bool { return s.networks == nil && s.attributes == nil }

// equal reports whether two settings mean the same. It may return false if they do.
func (s *settings) equal(other *settings) bool {
	if s.scopes != other.scopes || !s.networks.equal(other.networks) || (s.attributes == nil) != (other.attributes == nil) {
		return false
	}
	return s.attributes == nil || reflect.DeepEqual(&s.attributes.attributes, &other.attributes.attributes)
}

// profile holds the settings of keys in a namespace. Keys with the same plain settings share profiles.
type profile struct {
	settings

	namespace *namespace
	// words estimates the memory of the settings.
	words uint32
}

// words estimates the memory that settings take.
func (s *settings) words() uint32 {
	size := len(s.scopes.Value())
	if s.networks != nil {
		size += networkSize * s.networks.size()
	}
	if s.attributes != nil {
		size += s.attributes.size()
	}
	return uint32(size / wordSize) //nolint:gosec // at most a few times the size of an object
}

// maxSharedProfiles limits the profiles that a namespace keeps for further keys.
const maxSharedProfiles = 64

// profileOf returns a profile with the given settings.
func (n *namespace) profileOf(s *settings) *profile {
	if !s.isPlain() {
		return &profile{settings: *s, namespace: n, words: s.words()}
	}
	if shared := n.profiles[s.scopes]; shared != nil {
		return shared
	}
	if n.profiles == nil || len(n.profiles) >= maxSharedProfiles {
		n.profiles = map[unique.Handle[string]]*profile{}
	}
	shared := &profile{settings: *s, namespace: n, words: s.words()}
	n.profiles[s.scopes] = shared
	return shared
}
