// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// newDeclaringAccount returns an account that declares an external ID and was created the given number of seconds after
// the epoch.
func newDeclaringAccount(name, id string, created int) *v1alpha1.Account {
	a := keystest.NewAccount(name)
	a.Spec.ExternalID, a.UID = id, types.UID("uid-"+name)
	a.CreationTimestamp = metav1.NewTime(epoch.Add(time.Duration(created) * time.Second))
	return a
}

// newKeyOf returns a key of an account, whose material is derived from the name of the account.
func newKeyOf(account string) *v1alpha1.APIKey {
	return keystest.Key(account, keystest.Account(account), keystest.Issued(epoch))
}

// checkExternalID reports whether the key of an account meets the requirement of an external ID, and returns the
// external ID in its identity.
func checkExternalID(x *verifier.Index, account, id string) (met bool, handedOn string) {
	in := verifier.Input{Key: material("default/" + account), ExtractResult: verifier.Valid, Client: home, ExternalID: id}
	v := x.Check(&in, hour)
	if who := v.Key(); who != nil {
		handedOn = who.ExternalID
	}
	return v.Code == verifier.Valid, handedOn
}

func expectHolder(t *testing.T, x *verifier.Index, id, want string, accounts ...string) {
	t.Helper()
	for _, name := range accounts {
		met, handedOn := checkExternalID(x, name, id)
		if met != (name == want) || (handedOn == id) != (name == want) {
			t.Errorf("%s: meets %s: %t, has the external ID %q; the owner is %q", name, id, met, handedOn, want)
		}
	}
}

func TestIndex_OldestAccountHoldsExternalID(t *testing.T) {
	t.Parallel()
	x := complete(newKeyOf("acme"), newKeyOf("bob"), newKeyOf("eva"))
	expect := func(want string) { t.Helper(); expectHolder(t, x, "4711", want, "acme", "bob", "eva") }
	x.PutAccount(newDeclaringAccount("bob", "4711", 20))
	expect("bob")
	x.PutAccount(newDeclaringAccount("eva", "4711", 30))
	expect("bob")
	x.PutAccount(newDeclaringAccount("acme", "4711", 10)) // the older account is added last
	expect("acme")
	x.PutAccount(newDeclaringAccount("bob", "4711", 20)) // a second time
	expect("acme")
	x.PutAccount(newDeclaringAccount("acme", "4712", 10))
	expect("bob")
	x.PutAccount(newDeclaringAccount("acme", "4711", 10))
	expect("acme")
	x.DropAccount("acme")
	expect("bob")
	x.PutAccount(newDeclaringAccount("acme", "4711", 40)) // created again
	expect("bob")
	x.DropAccount("bob")
	expect("eva")
	x.ReplaceAccounts([]*v1alpha1.Account{newDeclaringAccount("acme", "4711", 40), newDeclaringAccount("bob", "", 20)})
	expect("acme")
	x.PutAccount(newDeclaringAccount("bob", "4711", 40)) // in the same second: the UID decides
	expect("acme")
}

// TestIndex_ExternalIDHasOneHolder adds, updates and removes accounts in any order, and compares the index with the
// accounts themselves.
func TestIndex_ExternalIDHasOneHolder(t *testing.T) {
	t.Parallel()
	names, ids := []string{"a", "b", "c", "d"}, []string{"", "x", "y"}
	rapid.Check(t, func(t *rapid.T) {
		x, exist := complete(), map[string]*v1alpha1.Account{}
		for _, name := range names {
			x.PutKey(newKeyOf(name))
		}
		for range rapid.IntRange(1, 20).Draw(t, "changes") {
			name := rapid.SampledFrom(names).Draw(t, "name")
			if rapid.IntRange(0, 3).Draw(t, "what") == 0 {
				delete(exist, name)
				x.DropAccount(name)
			} else {
				exist[name] = newDeclaringAccount(name, rapid.SampledFrom(ids).Draw(t, "ID"), rapid.IntRange(0, 2).Draw(t, "created"))
				x.PutAccount(exist[name])
			}
			for _, id := range ids[1:] {
				want := oldestDeclaring(exist, id)
				for _, name := range names {
					if met, handedOn := checkExternalID(x, name, id); met != (name == want) || (handedOn == id) != (name == want) {
						t.Fatalf("%s holds %s: %t (%q); want %q of %s", name, id, met, handedOn, want, fmt.Sprint(exist))
					}
				}
			}
		}
	})
}

func oldestDeclaring(exist map[string]*v1alpha1.Account, id string) string {
	var found *v1alpha1.Account
	for _, a := range exist {
		if a.Spec.ExternalID == id && (found == nil || a.CreationTimestamp.Before(&found.CreationTimestamp) ||
			a.CreationTimestamp.Equal(&found.CreationTimestamp) && a.UID < found.UID) {
			found = a
		}
	}
	if found == nil {
		return ""
	}
	return found.Name
}
