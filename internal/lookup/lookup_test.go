// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package lookup_test

import (
	"slices"
	"testing"

	cachetesting "k8s.io/client-go/tools/cache/testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

// TestFacts_Siblings checks that the keys with the same label are read only if one of them can hold it: an account that
// allows the same label on several keys may have thousands.
func TestFacts_Siblings(t *testing.T) {
	source := cachetesting.NewFakeControllerSource()
	shop := keystest.Key("shop", keystest.Label("web"))
	source.Add(shop)
	source.Add(keystest.Key("other", keystest.Label("web")))
	sharing := keystest.Key("sharing", keystest.Account("zeta"), keystest.Label("web"))
	source.Add(sharing)
	source.Add(keystest.Key("more", keystest.Account("zeta"), keystest.Label("web")))
	c := newCache(t, source, keystest.NewAccount("acme"),
		keystest.NewAccount("zeta", keystest.Policy(func(a *v1alpha1.AccountSpec) { a.LabelPolicy = v1alpha1.LabelShared })))
	start(t, c)
	for key, want := range map[*v1alpha1.APIKey][]string{shop: {"default/other", "default/shop"}, sharing: {}} {
		facts, err := lookup.Facts(t.Context(), c, key, keystest.Settings, keystest.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		if got := names(facts.Siblings); !slices.Equal(got, want) {
			t.Errorf("key %s: got siblings %v, want %v", key.Name, got, want)
		}
	}
}
