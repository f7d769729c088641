// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func policy(change func(*v1alpha1.AccountSpec)) keystest.AccountOption {
	return keystest.Policy(change)
}

func queues(a *v1alpha1.Account) { a.Spec.Limits.Enforcement = v1alpha1.EnforcementQueue }

func byTeam(team string) keystest.AccountOption {
	return policy(func(a *v1alpha1.AccountSpec) {
		a.AllowedNamespaces = &metav1.LabelSelector{MatchLabels: map[string]string{"team": team}}
	})
}

// full returns an account with a limit of n, and n keys that hold all of its slots.
func full(n int, options ...keystest.AccountOption) []client.Object {
	var holders []*v1alpha1.APIKey
	for i := range n {
		holders = append(holders, keystest.Key(fmt.Sprint("holder-", i), keystest.Issued(keystest.Epoch)))
	}
	options = append([]keystest.AccountOption{keystest.MaxKeys(int32(n)), keystest.Slots(holders...)}, options...)
	objects := []client.Object{keystest.NewAccount("acme", options...)}
	for _, k := range holders {
		objects = append(objects, k)
	}
	return objects
}

// ended returns the objects with the first key expired and the second key revoked.
func ended(world []client.Object) []client.Object {
	for i, state := range []v1alpha1.ObservedState{v1alpha1.StateExpired, v1alpha1.StateRevoked} {
		keystest.Observed(state)(world[i+1].(*v1alpha1.APIKey))
	}
	return world
}

func TestAPIKey_Create(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		world []client.Object
		key   []keystest.KeyOption
		want  verdict
	}{
		"into an account with room":                             {world: []client.Object{keystest.NewAccount("acme")}},
		"into an account that does not exist, and will be made": {},
		"into a full account": {
			world: full(5),
			want:  verdict{denied: []string{"LimitReached", "has reached its key limit of 5", "delete a key, or raise spec.limits.maxKeys"}},
		},
		"into an account that is full of keys that have ended": {
			world: ended(full(3)),
			want:  verdict{denied: []string{"has reached its key limit of 3, and expired or revoked keys hold 2 of its slots: delete a key, or set spec.limits.counting of the account to Usable, or raise"}},
		},
		"into a full account that forbids deletion": {
			world: full(2, policy(func(a *v1alpha1.AccountSpec) { a.DeletionPolicy = v1alpha1.DeletionForbid })),
			want:  verdict{denied: []string{"has reached its key limit of 2: raise spec.limits.maxKeys of the account"}},
		},
		"with a date that lost its quotes": {
			world: []client.Object{keystest.NewAccount("acme", keystest.Zone("Europe/Madrid"))},
			key:   []keystest.KeyOption{keystest.Expiration("2026-03-28T00:00:00Z")},
			want:  verdict{warned: []string{`spec.expiration is midnight in UTC, but the time zone of account acme is Europe/Madrid: to set a date, write it in quotes: "2026-03-28"`}},
		},
		"with midnight in UTC, which is the account's zone": {
			world: []client.Object{keystest.NewAccount("acme", keystest.Zone("UTC"))},
			key:   []keystest.KeyOption{keystest.Expiration("2026-03-28T00:00:00Z")},
		},
		"with midnight in the account's zone": {
			world: []client.Object{keystest.NewAccount("acme", keystest.Zone("Europe/Madrid"))},
			key:   []keystest.KeyOption{keystest.Expiration("2026-03-28T00:00:00+01:00")},
		},
		"into an account whose room is promised to one that waits": {
			world: []client.Object{keystest.NewAccount("acme", keystest.MaxKeys(1)), keystest.Key("waits")},
			want:  verdict{denied: []string{"LimitReached"}},
		},
		"into a full account that lets keys queue": {
			world: full(1, queues),
			want:  verdict{warned: []string{"has reached its key limit of 1", "the key waits for a free slot"}},
		},
		"into a full account where only usable keys count": {
			world: full(1, keystest.Counting(v1alpha1.CountUsable)),
			want:  verdict{denied: []string{"LimitReached"}},
		},
		"switched off, into a full account where only usable keys count": {
			world: full(1, keystest.Counting(v1alpha1.CountUsable)),
			key:   []keystest.KeyOption{keystest.State(v1alpha1.KeyStateInactive)},
		},
		"where only usable keys count, beside one that is switched off": {
			world: []client.Object{keystest.NewAccount("acme", keystest.MaxKeys(1), keystest.Counting(v1alpha1.CountUsable)), keystest.Key("off", keystest.State(v1alpha1.KeyStateInactive))},
		},
		"without limit": {world: full(5, keystest.Unlimited())},
		"into a suspended account": {
			world: []client.Object{keystest.NewAccount("acme", keystest.Suspended())},
			want:  verdict{warned: []string{"Account acme is suspended"}},
		},
		"with a label that is taken": {
			world: []client.Object{keystest.NewAccount("acme"), keystest.Key("other", keystest.Label("shop"))},
			key:   []keystest.KeyOption{keystest.Label("shop")},
			want:  verdict{denied: []string{"LabelTaken", "default/other", "choose another label"}},
		},
		"with a label that is taken in another namespace": {
			world: []client.Object{keystest.NewAccount("acme"), keystest.Key("other", keystest.Namespace("tenant-a"), keystest.Label("shop"))},
			key:   []keystest.KeyOption{keystest.Label("shop")},
			want:  verdict{denied: []string{"LabelTaken: Another key of account acme has the same spec.label: choose another label"}},
		},
		"with an address that gets no mail": {
			world: []client.Object{keystest.NewAccount("acme")},
			key:   []keystest.KeyOption{keystest.Notify(v1alpha1.Notification{Emails: []string{"a@example.com", "b@evil.net"}})},
			want:  verdict{denied: []string{"RecipientNotAllowed", "spec.notification.emails[1]", "--smtp-allowed-domains"}},
		},
		"with an address that does": {
			world: []client.Object{keystest.NewAccount("acme")},
			key:   []keystest.KeyOption{keystest.Notify(v1alpha1.Notification{Emails: []string{"a@example.com"}})},
		},
		"with a label that is shared": {
			world: []client.Object{keystest.NewAccount("acme", policy(func(a *v1alpha1.AccountSpec) { a.LabelPolicy = v1alpha1.LabelShared })), keystest.Key("other", keystest.Label("shop"))},
			key:   []keystest.KeyOption{keystest.Label("shop")},
		},
		"with another account's label": {
			world: []client.Object{keystest.NewAccount("acme"), keystest.Key("other", keystest.Account("zeta"), keystest.Label("shop"))},
			key:   []keystest.KeyOption{keystest.Label("shop")},
		},
		"from a namespace that is not allowed": {
			world: []client.Object{keystest.NewAccount("acme", byTeam("b"))},
			want:  verdict{denied: []string{"NamespaceNotAllowed", "namespace default", "spec.allowedNamespaces"}},
		},
		"from a namespace that is": {
			world: []client.Object{keystest.NewAccount("acme", byTeam("a")), space("shop", map[string]string{"team": "a"}, false)},
			key:   []keystest.KeyOption{keystest.Namespace("shop")},
		},
		"with a scope that is not allowed": {
			world: []client.Object{keystest.NewAccount("acme", policy(func(a *v1alpha1.AccountSpec) { a.AllowedScopes = []string{"orders:*"} }))},
			key:   []keystest.KeyOption{keystest.Scopes("orders:read", "reports:read")},
			want:  verdict{denied: []string{"ScopeNotAllowed", "reports:read", "it allows orders:*"}},
		},
		"with too long a life": {
			world: []client.Object{keystest.NewAccount("acme", policy(func(a *v1alpha1.AccountSpec) {
				a.ExpirationPolicy = &v1alpha1.ExpirationPolicy{MaxLifetime: "24h"}
			}))},
			key:  []keystest.KeyOption{keystest.Expiring(keystest.Epoch.Add(25 * time.Hour))},
			want: verdict{denied: []string{"LifetimeTooLong", "24h", "earlier"}},
		},
		"with a life that is just right": {
			world: []client.Object{keystest.NewAccount("acme", policy(func(a *v1alpha1.AccountSpec) {
				a.ExpirationPolicy = &v1alpha1.ExpirationPolicy{MaxLifetime: "24h"}
			}))},
			key: []keystest.KeyOption{keystest.Expiring(keystest.Epoch.Add(24 * time.Hour))},
		},
		"without the expiration that is required": {
			world: []client.Object{keystest.NewAccount("acme", policy(func(a *v1alpha1.AccountSpec) {
				a.ExpirationPolicy = &v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationRequired}
			}))},
			want: verdict{denied: []string{"ExpirationRequired", "set spec.expiration"}},
		},
		"without the whitelist that is required": {
			world: []client.Object{keystest.NewAccount("acme", policy(func(a *v1alpha1.AccountSpec) { a.IPWhitelistPolicy = v1alpha1.IPWhitelistRequired }))},
			want:  verdict{denied: []string{"IPWhitelistRequired", "set spec.ipWhitelist"}},
		},
		"with a spec that an older schema let through": {
			world: []client.Object{keystest.NewAccount("acme")},
			key:   []keystest.KeyOption{keystest.Whitelist("10.0.0.1/8")},
			want:  verdict{denied: []string{"InvalidSpec", "spec.ipWhitelist[0]", "10.0.0.0/8"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := keyValidator(t, tc.world...)
			warnings, err := v.ValidateCreate(t.Context(), keystest.Key("new", append(tc.key, keystest.BeingCreated())...))
			tc.want.check(t, warnings, err)
		})
	}
}

func TestAPIKey_Create_RequireAccount(t *testing.T) {
	t.Parallel()
	v := keyValidator(t)
	v.Settings.RequireAccount = true
	warnings, err := v.ValidateCreate(t.Context(), keystest.Key("new", keystest.BeingCreated()))
	verdict{warned: []string{"Account acme does not exist"}}.check(t, warnings, err)
}

// A key that the manager will not issue takes no slot, also not in the eyes of the webhook.
func TestAPIKey_Create_UnwatchedNamespace(t *testing.T) {
	t.Parallel()
	outside := keystest.Key("outside", keystest.BeingCreated())
	v := keyValidator(t, keystest.NewAccount("acme", keystest.MaxKeys(1)), keystest.Key("earlier"))
	v.Settings.Namespaces = []string{"shop"}
	warnings, err := v.ValidateCreate(t.Context(), outside)
	verdict{warned: []string{"does not watch namespace default: the key will not be issued"}}.check(t, warnings, err)

	inside := keystest.Key("inside", keystest.BeingCreated())
	inside.Namespace = "shop"
	warnings, err = v.ValidateCreate(t.Context(), inside)
	verdict{}.check(t, warnings, err)
}

func TestAPIKey_Create_ExactlyTheLimitGetsIn(t *testing.T) {
	t.Parallel()
	world := []client.Object{keystest.NewAccount("acme", keystest.MaxKeys(3))}
	for i := range 4 {
		v := keyValidator(t, world...)
		k := keystest.Key(fmt.Sprint("key-", i), keystest.BeingCreated())
		_, err := v.ValidateCreate(t.Context(), k)
		if (err != nil) != (i == 3) {
			t.Errorf("key %d: %v", i+1, err)
		}
		world = append(world, keystest.Key(k.Name)) // it has no slot yet
	}
}

func TestAPIKey_Update(t *testing.T) {
	t.Parallel()
	scoped := policy(func(a *v1alpha1.AccountSpec) { a.AllowedScopes = []string{"orders:*"} })
	for name, tc := range map[string]struct {
		world    []client.Object
		was, is  []keystest.KeyOption
		want     verdict
		deleting bool
	}{
		"nothing of the spec": {
			world: []client.Object{keystest.NewAccount("acme", scoped)},
			was:   []keystest.KeyOption{keystest.Scopes("reports:read")}, is: []keystest.KeyOption{keystest.Scopes("reports:read")},
		},
		"into something that the policy is against": {
			world: []client.Object{keystest.NewAccount("acme", scoped)},
			was:   []keystest.KeyOption{keystest.Scopes("orders:read")}, is: []keystest.KeyOption{keystest.Scopes("reports:read")},
			want: verdict{denied: []string{"ScopeNotAllowed", "reports:read"}},
		},
		"switching off a key that breaks the policy already": {
			world: []client.Object{keystest.NewAccount("acme", scoped)},
			was:   []keystest.KeyOption{keystest.Scopes("reports:read")},
			is:    []keystest.KeyOption{keystest.Scopes("reports:read"), keystest.State(v1alpha1.KeyStateInactive)},
			want:  verdict{warned: []string{"reports:read"}},
		},
		"from one breach into another": {
			world: []client.Object{keystest.NewAccount("acme", scoped)},
			was:   []keystest.KeyOption{keystest.Scopes("reports:read")}, is: []keystest.KeyOption{keystest.Scopes("admin")},
			want: verdict{denied: []string{"ScopeNotAllowed", "admin"}},
		},
		"correcting one of two violations": {
			world: []client.Object{keystest.NewAccount("acme", scoped, policy(func(a *v1alpha1.AccountSpec) { a.IPWhitelistPolicy = v1alpha1.IPWhitelistRequired }))},
			was:   []keystest.KeyOption{keystest.Scopes("reports:read")}, is: []keystest.KeyOption{keystest.Scopes("orders:read")},
			want: verdict{warned: []string{"spec.ipWhitelist"}},
		},
		"adding a second breach": {
			world: []client.Object{keystest.NewAccount("acme", scoped, policy(func(a *v1alpha1.AccountSpec) { a.IPWhitelistPolicy = v1alpha1.IPWhitelistRequired }))},
			was:   []keystest.KeyOption{keystest.Scopes("reports:read"), keystest.Whitelist("192.0.2.7")}, is: []keystest.KeyOption{keystest.Scopes("reports:read")},
			want: verdict{denied: []string{"IPWhitelistRequired"}},
		},
		"while it is being deleted": {
			world:    []client.Object{keystest.NewAccount("acme", scoped)},
			was:      []keystest.KeyOption{keystest.Scopes("orders:read")},
			is:       []keystest.KeyOption{keystest.Scopes("reports:read")},
			deleting: true,
		},
		"of a key in a full account": {world: full(5), is: []keystest.KeyOption{keystest.Label("new")}},
		"into a taken label": {
			world: []client.Object{keystest.NewAccount("acme", keystest.Slots(keystest.Key("other", keystest.Label("shop")))), keystest.Key("other", keystest.Label("shop"))},
			is:    []keystest.KeyOption{keystest.Label("shop")},
			want:  verdict{denied: []string{"LabelTaken", "default/other"}},
		},
		"with an address that gets no mail, and did not before": {
			world: []client.Object{keystest.NewAccount("acme")},
			was:   []keystest.KeyOption{keystest.Notify(v1alpha1.Notification{Emails: []string{"b@evil.net"}})},
			is:    []keystest.KeyOption{keystest.Notify(v1alpha1.Notification{Emails: []string{"b@evil.net"}}), keystest.State(v1alpha1.KeyStateInactive)},
		},
		"to a date that lost its quotes": {
			world: []client.Object{keystest.NewAccount("acme", keystest.Zone("Europe/Madrid"))},
			is:    []keystest.KeyOption{keystest.Expiration("2026-03-28T00:00:00Z")},
			want:  verdict{warned: []string{"write it in quotes"}},
		},
		"with a date that had lost its quotes before": {
			world: []client.Object{keystest.NewAccount("acme", keystest.Zone("Europe/Madrid"))},
			was:   []keystest.KeyOption{keystest.Expiration("2026-03-28T00:00:00Z")},
			is:    []keystest.KeyOption{keystest.Expiration("2026-03-28T00:00:00Z"), keystest.State(v1alpha1.KeyStateInactive)},
		},
		"to an address that gets no mail": {
			world: []client.Object{keystest.NewAccount("acme")},
			is:    []keystest.KeyOption{keystest.Notify(v1alpha1.Notification{Emails: []string{"b@evil.net"}})},
			want:  verdict{denied: []string{"RecipientNotAllowed", "b@evil.net"}},
		},
		"in a suspended account": {
			world: []client.Object{keystest.NewAccount("acme", keystest.Suspended())},
			is:    []keystest.KeyOption{keystest.State(v1alpha1.KeyStateInactive)},
			want:  verdict{warned: []string{"is suspended"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			was, is := keystest.Key("web", tc.was...), keystest.Key("web", tc.is...)
			if tc.deleting {
				keystest.Deleting(keystest.Epoch)(is)
			}
			v := keyValidator(t, append(tc.world, was)...)
			warnings, err := v.ValidateUpdate(t.Context(), was, is)
			tc.want.check(t, warnings, err)
		})
	}
}

func TestAPIKey_Delete(t *testing.T) {
	t.Parallel()
	deletion := func(p v1alpha1.DeletionPolicy) *v1alpha1.Account {
		return keystest.NewAccount("acme", policy(func(a *v1alpha1.AccountSpec) { a.DeletionPolicy = p }))
	}
	confirmed := func(name string) keystest.KeyOption {
		return func(k *v1alpha1.APIKey) { k.Annotations = map[string]string{v1alpha1.ConfirmDeletionAnnotation: name} }
	}
	issued := keystest.Issued(keystest.Epoch)
	forbidden := []string{"account acme forbids the deletion of keys", `kubectl patch apikey web -n shop --type=merge -p '{"spec":{"state":"Inactive"}}'`}
	confirm := []string{"kubectl annotate apikey web -n shop apikey-manager.io/confirm-deletion=web"}
	for name, tc := range map[string]struct {
		account  *v1alpha1.Account
		key      []keystest.KeyOption
		defaults keys.Settings
		ending   bool
		want     verdict
	}{
		"allowed":                       {account: deletion(v1alpha1.DeletionAllow), key: []keystest.KeyOption{issued}},
		"allowed where nothing is said": {account: deletion(""), key: []keystest.KeyOption{issued}},
		"forbidden":                     {account: deletion(v1alpha1.DeletionForbid), key: []keystest.KeyOption{issued}, want: verdict{denied: forbidden}},
		"forbidden by the manager's default": {
			account: deletion(""), defaults: keys.Settings{DeletionPolicy: v1alpha1.DeletionForbid}, key: []keystest.KeyOption{issued}, want: verdict{denied: forbidden},
		},
		"forbidden by the manager's default for an account that is not there": {
			defaults: keys.Settings{DeletionPolicy: v1alpha1.DeletionForbid}, key: []keystest.KeyOption{issued}, want: verdict{denied: forbidden},
		},
		"allowed by the account, regardless of the default": {
			account: deletion(v1alpha1.DeletionAllow), defaults: keys.Settings{DeletionPolicy: v1alpha1.DeletionForbid}, key: []keystest.KeyOption{issued},
		},
		"forbidden, and never issued":                  {account: deletion(v1alpha1.DeletionForbid)},
		"forbidden, and the namespace is ending":       {account: deletion(v1alpha1.DeletionForbid), key: []keystest.KeyOption{issued}, ending: true},
		"forbidden, and revoked":                       {account: deletion(v1alpha1.DeletionForbid), key: []keystest.KeyOption{issued, keystest.State(v1alpha1.KeyStateRevoked)}, want: verdict{denied: []string{"forbids"}}},
		"to be confirmed":                              {account: deletion(v1alpha1.DeletionRequireConfirmation), key: []keystest.KeyOption{issued}, want: verdict{denied: confirm}},
		"to be confirmed, and another one is":          {account: deletion(v1alpha1.DeletionRequireConfirmation), key: []keystest.KeyOption{issued, confirmed("other")}, want: verdict{denied: confirm}},
		"to be confirmed, and confirmed":               {account: deletion(v1alpha1.DeletionRequireConfirmation), key: []keystest.KeyOption{issued, confirmed("web")}},
		"to be confirmed, and the namespace is ending": {account: deletion(v1alpha1.DeletionRequireConfirmation), key: []keystest.KeyOption{issued}, ending: true},
		"of a suspended account that forbids it":       {account: keystest.NewAccount("acme", keystest.Suspended(), policy(func(a *v1alpha1.AccountSpec) { a.DeletionPolicy = v1alpha1.DeletionForbid })), key: []keystest.KeyOption{issued}, want: verdict{denied: []string{"forbids"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			world := []client.Object{space("shop", nil, tc.ending)}
			if tc.account != nil {
				world = append(world, tc.account)
			}
			v := keyValidator(t, world...)
			v.Settings = tc.defaults
			warnings, err := v.ValidateDelete(t.Context(), keystest.Key("web", append(tc.key, keystest.Namespace("shop"))...))
			tc.want.check(t, warnings, err)
		})
	}
}

// A key whose retention is over can be deleted without confirmation, unless deletion is forbidden.
func TestAPIKey_Delete_RetentionIsOver(t *testing.T) {
	t.Parallel()
	confirm, forbidden := []string{"kubectl annotate apikey web"}, []string{"forbids the deletion of keys"}
	for name, tc := range map[string]struct {
		policy v1alpha1.DeletionPolicy
		after  v1alpha1.Duration
		want   verdict
	}{
		"to be confirmed, and over":     {policy: v1alpha1.DeletionRequireConfirmation, after: "1h"},
		"to be confirmed, and not over": {policy: v1alpha1.DeletionRequireConfirmation, after: "1h0m1s", want: verdict{denied: confirm}},
		"to be confirmed, and off":      {policy: v1alpha1.DeletionRequireConfirmation, want: verdict{denied: confirm}},
		"forbidden, and over":           {policy: v1alpha1.DeletionForbid, after: "1h", want: verdict{denied: forbidden}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			account := keystest.NewAccount("acme", policy(func(a *v1alpha1.AccountSpec) {
				a.DeletionPolicy, a.Retention = tc.policy, &v1alpha1.Retention{RevokedAfter: tc.after}
			}))
			k := keystest.Key("web", keystest.Namespace("shop"), keystest.Issued(keystest.Epoch), keystest.State(v1alpha1.KeyStateRevoked))
			v := keyValidator(t, account, space("shop", nil, false))
			k.Status = keys.Describe(keys.Facts{
				Key: k, Account: account, Settings: v.Settings, Secret: keys.ObservedSecret{Ownership: keys.SecretOwned}, Now: v.Clock.Now().Add(-time.Hour),
			})
			warnings, err := v.ValidateDelete(t.Context(), k)
			tc.want.check(t, warnings, err)
		})
	}
}

// The validator reads the namespace from the API server, because the cache may not have observed its deletion yet.
func TestAPIKey_Delete_AsksTheAPIServer(t *testing.T) {
	t.Parallel()
	account := keystest.NewAccount("acme", policy(func(a *v1alpha1.AccountSpec) { a.DeletionPolicy = v1alpha1.DeletionForbid }))
	v := keyValidator(t, account, space("shop", nil, false))
	v.APIReader = reader(t, interceptor.Funcs{}, space("shop", nil, true))
	_, err := v.ValidateDelete(t.Context(), keystest.Key("web", keystest.Namespace("shop"), keystest.Issued(keystest.Epoch)))
	if err != nil {
		t.Errorf("denied: %v", err)
	}
}

// A request is denied if an object that the decision depends on cannot be read.
func TestAPIKey_WhatCannotBeReadIsDenied(t *testing.T) {
	t.Parallel()
	down := interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errDown
		},
	}
	v := keyValidator(t)
	v.Cache, v.APIReader = reader(t, down), reader(t, down)
	issued := keystest.Key("web", keystest.Issued(keystest.Epoch))
	if _, err := v.ValidateCreate(t.Context(), keystest.Key("web", keystest.BeingCreated())); !errors.Is(err, errDown) {
		t.Errorf("create: %v", err)
	}
	if _, err := v.ValidateUpdate(t.Context(), issued, keystest.Key("web", keystest.Label("new"))); !errors.Is(err, errDown) {
		t.Errorf("update: %v", err)
	}
	if _, err := v.ValidateDelete(t.Context(), issued); !errors.Is(err, errDown) {
		t.Errorf("delete: %v", err)
	}
	forbid := keystest.NewAccount("acme", policy(func(a *v1alpha1.AccountSpec) { a.DeletionPolicy = v1alpha1.DeletionForbid }))
	v.Cache = reader(t, interceptor.Funcs{}, forbid)
	if _, err := v.ValidateDelete(t.Context(), issued); !errors.Is(err, errDown) {
		t.Errorf("delete, with the namespace unknown: %v", err)
	}
}
