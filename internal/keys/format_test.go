// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func TestEffectiveFormat_AccountDefault(t *testing.T) {
	t.Parallel()
	a := keystest.NewAccount("acme", keystest.Policy(func(a *v1alpha1.AccountSpec) {
		a.KeyDefaults = &v1alpha1.KeyDefaults{Format: &v1alpha1.Format{Type: v1alpha1.FormatHex}}
	}))
	if f := keys.EffectiveFormat(keystest.Key("shop"), a); f.Type != v1alpha1.FormatHex || f.Length != 64 {
		t.Errorf("got %+v, want the account's", f)
	}
	if f := keys.EffectiveFormat(keystest.Key("shop", keystest.Format(v1alpha1.Format{Type: v1alpha1.FormatUUID})), a); f.Type != v1alpha1.FormatUUID {
		t.Errorf("got %+v, want the key's own", f)
	}
}
