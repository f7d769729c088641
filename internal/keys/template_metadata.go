// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"regexp"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// metadataOf returns the metadata of a key of an account, which may be nil.
func metadataOf(k *v1alpha1.APIKey, a *v1alpha1.Account) map[string]string {
	if a == nil {
		return EffectiveMetadata(k.Spec.Metadata, nil)
	}
	return EffectiveMetadata(k.Spec.Metadata, a.Spec.Metadata)
}

// metadataUse matches what a template must contain to use metadata: the name of the value, or . or $ for all values.
var metadataUse = regexp.MustCompile(`Metadata|[.$](\W|$)`)

// usesMetadata reports whether an entry of a template may use metadata. A Secret whose template cannot use it is not
// written when only metadata changes.
func usesMetadata(t *v1alpha1.SecretTemplate) bool {
	for _, text := range t.Data {
		if metadataUse.MatchString(text) {
			return true
		}
	}
	return false
}
