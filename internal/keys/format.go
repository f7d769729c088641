// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// EffectiveFormat returns the format of a key's next credential: the format of the key, or else the default of its
// account, or else Token.
func EffectiveFormat(k *v1alpha1.APIKey, a *v1alpha1.Account) credential.Format {
	switch {
	case k.Spec.Format != nil:
		return credential.FormatOf(*k.Spec.Format)
	case a != nil && a.Spec.KeyDefaults != nil && a.Spec.KeyDefaults.Format != nil:
		return credential.FormatOf(*a.Spec.KeyDefaults.Format)
	}
	return credential.FormatOf(v1alpha1.Format{})
}
