// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/webhook"
)

func undecodable(fields ...string) keystest.KeyOption {
	return func(k *v1alpha1.APIKey) { k.Undecodable = fields }
}

func TestAPIKey_Undecodable(t *testing.T) {
	t.Parallel()
	v := keyValidator(t, keystest.NewAccount("acme"))
	good, bad := keystest.Key("web"), keystest.Key("web", undecodable("spec.rotation"))
	denied := verdict{denied: []string{"InvalidSpec", "spec.rotation cannot be decoded"}}

	warnings, err := v.ValidateCreate(t.Context(), bad)
	denied.check(t, warnings, err)
	warnings, err = v.ValidateUpdate(t.Context(), good, bad)
	denied.check(t, warnings, err)
	warnings, err = v.ValidateUpdate(t.Context(), bad, good) // corrects the spec
	verdict{}.check(t, warnings, err)
	warnings, err = v.ValidateUpdate(t.Context(), bad, bad) // changes labels only
	verdict{}.check(t, warnings, err)
	off := keystest.Key("web", undecodable("spec.rotation"), keystest.State(v1alpha1.KeyStateRevoked))
	if _, err = v.ValidateUpdate(t.Context(), bad, off); err != nil {
		t.Errorf("a key that cannot be decoded cannot be revoked: %v", err)
	}
}

func TestAPIKey_DeleteUndecodable(t *testing.T) {
	t.Parallel()
	issued := keystest.Issued(keystest.Epoch)
	holder := keystest.Key("web", keystest.Namespace("shop"))
	forbids := policy(func(a *v1alpha1.AccountSpec) { a.DeletionPolicy = v1alpha1.DeletionForbid })
	for name, tc := range map[string]struct {
		account *v1alpha1.Account
		key     []keystest.KeyOption
		want    verdict
	}{
		"allowed":                              {keystest.NewAccount("acme"), []keystest.KeyOption{issued, undecodable("spec.rotation")}, verdict{}},
		"forbidden":                            {keystest.NewAccount("acme", forbids), []keystest.KeyOption{issued, undecodable("spec.rotation")}, verdict{denied: []string{"account acme forbids"}}},
		"forbidden, and never issued":          {keystest.NewAccount("acme", forbids), []keystest.KeyOption{undecodable("spec.rotation")}, verdict{}},
		"forbidden, and perhaps issued":        {keystest.NewAccount("acme", forbids), []keystest.KeyOption{undecodable("status")}, verdict{denied: []string{"account acme forbids"}}},
		"forbidden by the account of its slot": {keystest.NewAccount("acme", forbids, keystest.Slots(holder)), []keystest.KeyOption{issued, keystest.Account(""), undecodable("spec")}, verdict{denied: []string{"account acme forbids"}}},
		"of an unknown account":                {keystest.NewAccount("acme", forbids), []keystest.KeyOption{issued, keystest.Account(""), undecodable("spec.account")}, verdict{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := keyValidator(t, tc.account, space("shop", nil, false))
			warnings, err := v.ValidateDelete(t.Context(), keystest.Key("web", append([]keystest.KeyOption{keystest.Namespace("shop")}, tc.key...)...))
			tc.want.check(t, warnings, err)
		})
	}
}

func TestAccount_Undecodable(t *testing.T) {
	t.Parallel()
	v := &webhook.AccountValidator{APIReader: reader(t, interceptor.Funcs{})}
	good := keystest.NewAccount("acme")
	bad := keystest.NewAccount("acme", func(a *v1alpha1.Account) { a.Undecodable = []string{"spec.limits"} })
	suspended := bad.DeepCopy()
	suspended.Spec.State = v1alpha1.AccountSuspended
	denied := verdict{denied: []string{"spec.limits cannot be decoded"}}

	warnings, err := v.ValidateCreate(t.Context(), bad)
	denied.check(t, warnings, err)
	warnings, err = v.ValidateUpdate(t.Context(), good, bad)
	denied.check(t, warnings, err)
	warnings, err = v.ValidateUpdate(t.Context(), bad, suspended)
	verdict{}.check(t, warnings, err)
	warnings, err = v.ValidateUpdate(t.Context(), bad, good)
	verdict{}.check(t, warnings, err)
}
