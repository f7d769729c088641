// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package lookup_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

// TestFacts_Siblings checks that the keys with the same label are read only if one of them can hold it: an account that
// allows the same label on several keys may have thousands.
func TestFacts_Siblings(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	sharing := keystest.Policy(func(a *v1alpha1.AccountSpec) { a.LabelPolicy = v1alpha1.LabelShared })
	labeled := func(name, account string) *v1alpha1.APIKey {
		return keystest.Key(name, keystest.Account(account), keystest.Label("web"))
	}
	b := fake.NewClientBuilder().WithScheme(scheme).WithObjects(keystest.NewAccount("acme"), keystest.NewAccount("zeta", sharing),
		labeled("one", "acme"), labeled("two", "acme"), labeled("three", "zeta"), labeled("four", "zeta"))
	for name, value := range keys.Indexes {
		b = b.WithIndex(&v1alpha1.APIKey{}, name, func(o client.Object) []string { return value(o.(*v1alpha1.APIKey)) })
	}
	reader := b.Build()
	for account, want := range map[string]int{"acme": 2, "zeta": 0} {
		facts, err := lookup.Facts(t.Context(), reader, labeled("one", account), keystest.Settings, keystest.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(facts.Siblings); got != want {
			t.Errorf("account %s: got %d siblings, want %d", account, got, want)
		}
	}
}
