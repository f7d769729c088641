// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// AcceptedCredentials returns the credentials of a key that verifiers accept now from some address, in the order of the
// status, and the next time at which the passage of time changes the result. The zero time means never. Restrictions in
// the spec apply at once, relaxations when the status shows them, as in verifiers. A credential that was issued to another
// key first is not excluded, see SharedDigests. namespaceLabels is nil if the namespace is not known.
func AcceptedCredentials(
	k *v1alpha1.APIKey,
	a *v1alpha1.Account,
	namespaceLabels map[string]string,
	now time.Time,
) (accepted []v1alpha1.Credential, next time.Time) {
	return nil, time.Time{}
}

// SharedDigests holds the digests that several keys have or have revoked.
type SharedDigests map[string]*v1alpha1.APIKey

// FindSharedDigests returns the digests that several of the given keys, which must be all keys, have or have revoked, and
// for each of them the key to which it was issued first.
func FindSharedDigests(all []*v1alpha1.APIKey) SharedDigests { return nil }

// Shadowed returns the digests of a key's credentials that were issued to another key first.
func (s SharedDigests) Shadowed(k *v1alpha1.APIKey) []string { return nil }
