// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"regexp"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

var metadataName = regexp.MustCompile(`^[a-z][A-Za-z0-9]{0,62}$`)

// IsMetadataName reports whether the schema admits a name of an entry of metadata.
func IsMetadataName(name string) bool { return metadataName.MatchString(name) }

// EffectiveMetadata returns the metadata of a key, or nil if there is none. An entry of the account takes precedence over
// one of the same name of the key, so that users who can only change the key cannot set it.
func EffectiveMetadata(own, account map[string]v1alpha1.MetadataValue) map[string]string {
	if len(own)+len(account) == 0 {
		return nil
	}
	effective := make(map[string]string, len(own)+len(account))
	for name, value := range own {
		effective[name] = string(value)
	}
	for name, value := range account {
		effective[name] = string(value)
	}
	return effective
}
