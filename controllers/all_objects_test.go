// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	toolscache "k8s.io/client-go/tools/cache"

	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// TestAllObjects: the objects of the cache are returned themselves, and without a store those that a client lists.
func TestAllObjects(t *testing.T) {
	t.Parallel()
	k, a := keystest.Key("web"), keystest.NewAccount("acme")
	keyStore, accountStore := toolscache.NewStore(toolscache.MetaNamespaceKeyFunc), toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)
	_, _ = keyStore.Add(k), accountStore.Add(a)
	w := newFixture(t, k.DeepCopy(), a.DeepCopy())
	for name, all := range map[string]*allObjects{
		"stores": {keys: keyStore, accounts: accountStore},
		"client": {reader: w.cached()},
	} {
		keys, keysErr := all.Keys(t.Context())
		accounts, accountsErr := all.Accounts(t.Context())
		if keysErr != nil || accountsErr != nil || len(keys) != 1 || keys[0].Name != k.Name || len(accounts) != 1 || accounts[0].Name != a.Name {
			t.Fatalf("%s: the keys are %v, the accounts %v, the errors %v and %v", name, keys, accounts, keysErr, accountsErr)
		}
		if copied := keys[0] != k || accounts[0] != a; copied != (name == "client") {
			t.Errorf("%s: copied is %t", name, copied)
		}
	}
}
