// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// maxRevoked limits the revoked credentials in a status. The oldest are dropped, so that a key can always be revoked
// again.
const maxRevoked = 128

// revokedCredentials returns the revoked credentials: those already in the status, and those that leave the list of
// credentials now because of spec.rotation.revokeBefore or because the key was revoked.
func (a *assessment) revokedCredentials(after []v1alpha1.Credential) []v1alpha1.RevokedCredential {
	list := slices.Clone(a.Key.Status.RevokedCredentials)
	for _, c := range a.Key.Status.Credentials {
		stays := slices.ContainsFunc(after, func(kept v1alpha1.Credential) bool { return kept.SHA256 == c.SHA256 })
		known := slices.ContainsFunc(list, func(r v1alpha1.RevokedCredential) bool { return r.SHA256 == c.SHA256 })
		if !stays && !known && (a.revokedByTime(&c) || a.desiredState == v1alpha1.StateRevoked) {
			list = append(list, v1alpha1.RevokedCredential{ID: c.ID, SHA256: c.SHA256, IssuedAt: c.IssuedAt})
		}
	}
	return list[max(0, len(list)-maxRevoked):]
}
