// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

func TestEffectiveMetadata(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		own, account map[string]v1alpha1.MetadataValue
		want         map[string]string
	}{
		"none":           {},
		"of the key":     {own: map[string]v1alpha1.MetadataValue{"team": "shop"}, want: map[string]string{"team": "shop"}},
		"of the account": {account: map[string]v1alpha1.MetadataValue{"tier": "basic"}, want: map[string]string{"tier": "basic"}},
		"the account wins": {
			own:     map[string]v1alpha1.MetadataValue{"team": "shop", "tier": "gold"},
			account: map[string]v1alpha1.MetadataValue{"tier": "basic"}, want: map[string]string{"team": "shop", "tier": "basic"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, keys.EffectiveMetadata(c.own, c.account)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestIsMetadataName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"team": true, "costCenter2": true, "a" + strings.Repeat("b", 62): true,
		"": false, "Team": false, "2nd": false, "cost-center": false, "a" + strings.Repeat("b", 63): false, "team\n": false,
	} {
		if keys.IsMetadataName(name) != want {
			t.Errorf("IsMetadataName(%q) is %t", name, !want)
		}
	}
}
