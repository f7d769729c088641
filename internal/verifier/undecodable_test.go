// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// TestIndex_RefusesUndecodableObjects makes a key and an account undecodable, and corrects them.
func TestIndex_RefusesUndecodableObjects(t *testing.T) {
	t.Parallel()
	x := verifier.NewIndex()
	var reported []verifier.Undecodable
	x.ReportUndecodable(func(o verifier.Undecodable) { reported = append(reported, o) })
	x.SetComplete()
	counts := func(keys, accounts int) {
		t.Helper()
		if k, a := x.Undecodable(); k != keys || a != accounts {
			t.Errorf("%d keys and %d accounts are undecodable, want %d and %d", k, a, keys, accounts)
		}
	}
	lost := keystest.NewAccount("acme", keystest.Version("7"), func(a *v1alpha1.Account) { a.Undecodable = []string{"spec.state"} })
	x.PutAccount(keystest.NewAccount("acme"))
	x.PutKey(issued())
	expect(t, x, "default/shop", verifier.Valid)

	bad := issued(func(k *v1alpha1.APIKey) { k.Undecodable, k.ResourceVersion = []string{"spec.ipWhitelist"}, "8" })
	x.PutKey(bad)
	x.PutKey(bad) // the same version in a list after a watch
	expect(t, x, "default/shop", verifier.Inactive)
	counts(1, 0)
	x.PutKey(issued())
	expect(t, x, "default/shop", verifier.Valid)
	counts(0, 0)

	x.ReplaceAccounts([]*v1alpha1.Account{lost})
	expect(t, x, "default/shop", verifier.Inactive)
	counts(0, 1)
	x.PutAccount(keystest.NewAccount("acme"))
	expect(t, x, "default/shop", verifier.Valid)
	x.PutKey(bad)
	x.PutAccount(lost)
	x.DropKey(types.NamespacedName{Namespace: "default", Name: "shop"})
	x.ReplaceAccounts(nil)
	counts(0, 0)
	want := []verifier.Undecodable{
		{
			Kind: "APIKey", Name: types.NamespacedName{Namespace: "default", Name: "shop"}, ResourceVersion: "8",
			Fields: []string{"spec.ipWhitelist"},
		},
		{Kind: "Account", Name: types.NamespacedName{Name: "acme"}, ResourceVersion: "7", Fields: []string{"spec.state"}},
	}
	if diff := cmp.Diff(append(want, want...), reported); diff != "" {
		t.Errorf("reported (-want +got):\n%s", diff)
	}
}

// An invalid revokeBefore may have been meant to revoke a credential, so the key is refused.
func TestIndex_RefusesInvalidRevokeBefore(t *testing.T) {
	t.Parallel()
	x := complete(keystest.NewAccount("acme"), issued(func(k *v1alpha1.APIKey) {
		k.Spec.Rotation = &v1alpha1.Rotation{RevokeBefore: "2026-12-01t09:00:00z"}
	}))
	expect(t, x, "default/shop", verifier.Inactive)
}
