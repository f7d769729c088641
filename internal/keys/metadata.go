// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import "github.com/apikey-manager/apikey-manager/api/v1alpha1"

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
