// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"context"
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/webhook"
)

func selects(operator metav1.LabelSelectorOperator) keystest.AccountOption {
	return policy(func(a *v1alpha1.AccountSpec) {
		a.AllowedNamespaces = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: operator, Values: []string{"a"}}}}
	})
}

func TestAccount_CreateAndUpdate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		account *v1alpha1.Account
		want    verdict
	}{
		"nothing said":                       {account: keystest.NewAccount("acme")},
		"a zone":                             {account: keystest.NewAccount("acme", keystest.Zone("Europe/Madrid"))},
		"no such zone":                       {account: keystest.NewAccount("acme", keystest.Zone("Mars/Base")), want: verdict{denied: []string{"spec.timeZone", "Mars/Base", "such as UTC or Europe/Madrid"}}},
		"a zone that depends on the machine": {account: keystest.NewAccount("acme", keystest.Zone("Local")), want: verdict{denied: []string{"spec.timeZone"}}},
		"an address that gets mail":          {account: keystest.NewAccount("acme", tells("a@example.com"))},
		"an address that gets none":          {account: keystest.NewAccount("acme", tells("b@evil.net")), want: verdict{denied: []string{"spec.keyDefaults.notification.emails[0]", "--smtp-allowed-domains"}}},
		"a selector":                         {account: keystest.NewAccount("acme", selects(metav1.LabelSelectorOpIn))},
		"an external ID of its own":          {account: withExternalID("acme", "4712")},
		"another one's external ID":          {account: withExternalID("acme", "4711"), want: verdict{denied: []string{"spec.externalID is already used by account zeta"}}},
		"no selector":                        {account: keystest.NewAccount("acme", selects("Within")), want: verdict{denied: []string{"spec.allowedNamespaces", "Within"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			world := reader(t, interceptor.Funcs{}, withExternalID("zeta", "4711"), withExternalID("acme", "4712"))
			v := &webhook.AccountValidator{Cache: world, APIReader: world, Settings: keys.Settings{MailDomains: keys.MailDomains{"example.com"}}}
			warnings, err := v.ValidateCreate(t.Context(), tc.account)
			tc.want.check(t, warnings, err)
			was := keystest.NewAccount("acme", keystest.MaxKeys(7))
			warnings, err = v.ValidateUpdate(t.Context(), was, tc.account)
			tc.want.check(t, warnings, err)
			warnings, err = v.ValidateUpdate(t.Context(), tc.account, tc.account)
			verdict{}.check(t, warnings, err) // a label or a finalizer may change, even if the spec is invalid
		})
	}
}

func withExternalID(name, id string) *v1alpha1.Account {
	return keystest.NewAccount(name, policy(func(a *v1alpha1.AccountSpec) { a.ExternalID = id }))
}

// An Account whose external ID is taken can be updated in other respects, so that it can be corrected in steps.
func TestAccount_Update_OfOneWhoseExternalIDIsTaken(t *testing.T) {
	t.Parallel()
	world := reader(t, interceptor.Funcs{}, withExternalID("zeta", "4711"))
	v := &webhook.AccountValidator{Cache: world, APIReader: world}
	was, is := withExternalID("acme", "4711"), withExternalID("acme", "4711")
	is.Spec.DisplayName = "Acme"
	if _, err := v.ValidateUpdate(t.Context(), was, is); err != nil {
		t.Error(err)
	}
}

// tells returns an option that sets the addresses in the account's default notification.
func tells(emails ...string) keystest.AccountOption {
	return keystest.Policy(func(a *v1alpha1.AccountSpec) {
		a.KeyDefaults = &v1alpha1.KeyDefaults{Notification: &v1alpha1.Notification{Emails: emails}}
	})
}

func TestAccount_Delete(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		world []client.Object
		want  verdict
	}{
		"no key names it":  {},
		"another is named": {world: []client.Object{keystest.Key("web", keystest.Account("zeta"))}},
		"a key names it": {
			world: []client.Object{keystest.Key("web", keystest.Namespace("shop"))},
			want:  verdict{denied: []string{"is in use: delete its keys", "--field-selector spec.account=acme", "Suspended"}},
		},
		"a revoked key names it": {
			world: []client.Object{keystest.Key("web", keystest.State(v1alpha1.KeyStateRevoked))},
			want:  verdict{denied: []string{"in use"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := &webhook.AccountValidator{APIReader: reader(t, interceptor.Funcs{}, tc.world...)}
			warnings, err := v.ValidateDelete(t.Context(), keystest.NewAccount("acme"))
			tc.want.check(t, warnings, err)
		})
	}
}

func TestAccount_Delete_WhatCannotBeReadIsDenied(t *testing.T) {
	t.Parallel()
	v := &webhook.AccountValidator{APIReader: reader(t, interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return errDown },
	})}
	if _, err := v.ValidateDelete(t.Context(), keystest.NewAccount("acme")); !errors.Is(err, errDown) {
		t.Errorf("got %v", err)
	}
}
