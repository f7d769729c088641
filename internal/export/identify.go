// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// Identify finds out which of the given credentials the items of the objects hold, and sets Digest and UID of these items.
// Under content Key, it returns the material of the credentials by their digests, so that their Secrets need not be read.
// It never takes another value for a credential, but may miss one in a value of an unusual form.
func (x *Export) Identify(objects Objects, credentials map[types.UID][]v1alpha1.Credential) map[string]credential.Material {
	owners, all := map[string]types.UID{}, []v1alpha1.Credential{}
	for uid, list := range credentials {
		for _, c := range list {
			owners[c.SHA256] = uid
		}
		all = append(all, list...)
	}
	found, index := map[string]credential.Material{}, keys.NewCredentialIndex(all)
	for _, o := range objects {
		for name, item := range o.Items {
			if item.Digest != "" {
				continue
			}
			if x.spec.Content == v1alpha1.ExportContentDigest {
				item.Digest = digestIn(item.Value, owners)
			} else if c, material := index.Find(item.Value); c != nil {
				item.Digest, found[c.SHA256] = c.SHA256, material
			}
			if item.UID = owners[item.Digest]; item.Digest != "" {
				o.Items[name] = item
			}
		}
	}
	return found
}

// digestIn returns the first known digest in a value, or "".
func digestIn(value []byte, known map[string]types.UID) string {
	for _, match := range writtenDigest.FindAll(value, -1) {
		if digest := string(match[len(keys.DigestPrefix):]); known[digest] != "" {
			return digest
		}
	}
	return ""
}
