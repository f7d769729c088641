// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// maxRevoked is how many revoked credentials a status keeps. The oldest are dropped, so that a key can always be revoked
// once more.
const maxRevoked = 128

// revokedCredentials returns the credentials that were revoked: those known before, and those that leave the status now
// because spec.rotation.revokeBefore or the end of the whole key killed them.
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
