// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// SharedDigests holds, for each digest that several keys have or have revoked, the key to which it was issued first.
// Verifiers attribute the credential to that key alone. There are such digests if objects are copied together with their
// status.
type SharedDigests map[string]*v1alpha1.APIKey

// FindSharedDigests returns the digests that several of the given keys have or have revoked. It must be given all keys.
func FindSharedDigests(all []*v1alpha1.APIKey) SharedDigests {
	first, shared := make(map[string]*v1alpha1.APIKey, len(all)), SharedDigests{}
	add := func(k *v1alpha1.APIKey, digest string) {
		holder, exists := first[digest]
		switch {
		case !exists:
			first[digest] = k
		case holder.UID != k.UID:
			if precedes(k, holder, digest) {
				holder = k
			}
			first[digest], shared[digest] = holder, holder
		}
	}
	for _, k := range all {
		if !k.DeletionTimestamp.IsZero() {
			continue
		}
		for i := range k.Status.Credentials {
			add(k, k.Status.Credentials[i].SHA256)
		}
		for i := range k.Status.RevokedCredentials {
			add(k, k.Status.RevokedCredentials[i].SHA256)
		}
	}
	return shared
}

// Shadowed returns the digests of a key's credentials that were issued to another key first.
func (s SharedDigests) Shadowed(k *v1alpha1.APIKey) []string {
	if len(s) == 0 {
		return nil
	}
	var list []string
	for i := range k.Status.Credentials {
		digest := k.Status.Credentials[i].SHA256
		if first := s[digest]; first != nil && first.UID != k.UID && !slices.Contains(list, digest) {
			list = append(list, digest)
		}
	}
	return list
}
