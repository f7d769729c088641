// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func TestCovers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		granted, wanted string
		want            bool
	}{
		{"conversions:write", "conversions:write", true},
		{"conversions:write", "conversions:read", false},
		{"conversions:write", "conversions:write:all", false},
		{"conversions:write", "Conversions:write", false},
		{"conversions:*", "conversions:write", true},
		{"conversions:*", "conversions:", true},
		{"conversions:*", "conversions", false},
		{"conversions:*", "reports:write", false},
		{"conversions:*", "conversions:*", true},
		{"conversions:*", "conversions:w*", true},
		{"conversions:*", "conversions*", false},
		{"conversions:*", "*", false},
		{"conversions:write", "conversions:*", false},
		{"*", "anything", true},
		{"*", "*", true},
		{"", "anything", false},
	} {
		if got := keys.Covers(tc.granted, tc.wanted); got != tc.want {
			t.Errorf("%q covers %q: %t", tc.granted, tc.wanted, got)
		}
	}
}

func TestSettings_Limit(t *testing.T) {
	t.Parallel()
	d := keys.Settings{MaxKeys: 7}
	for name, tc := range map[string]struct {
		options   []keystest.AccountOption
		limit     int
		unlimited bool
	}{
		"nothing said":                 {nil, 7, false},
		"limits that say other things": {[]keystest.AccountOption{keystest.Counting(v1alpha1.CountUsable)}, 7, false},
		"a number":                     {[]keystest.AccountOption{keystest.MaxKeys(3)}, 3, false},
		"none at all":                  {[]keystest.AccountOption{keystest.MaxKeys(0)}, 0, false},
		"unlimited":                    {[]keystest.AccountOption{keystest.Unlimited()}, 0, true},
		"unlimited disabled": {[]keystest.AccountOption{keystest.Policy(func(a *v1alpha1.AccountSpec) {
			a.Limits = &v1alpha1.Limits{Unlimited: v1alpha1.SwitchDisabled}
		})}, 7, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, unlimited := d.Limit(keystest.NewAccount("acme", tc.options...))
			if limit != tc.limit || unlimited != tc.unlimited {
				t.Errorf("got %d, %t", limit, unlimited)
			}
		})
	}
}

func TestSettings_Deletion(t *testing.T) {
	t.Parallel()
	forbids := keystest.NewAccount("acme", keystest.Policy(func(a *v1alpha1.AccountSpec) { a.DeletionPolicy = v1alpha1.DeletionForbid }))
	for name, tc := range map[string]struct {
		flag    v1alpha1.DeletionPolicy
		account *v1alpha1.Account
		want    v1alpha1.DeletionPolicy
	}{
		"no policy is set":                   {"", keystest.NewAccount("acme"), v1alpha1.DeletionAllow},
		"the flag speaks":                    {v1alpha1.DeletionRequireConfirmation, keystest.NewAccount("acme"), v1alpha1.DeletionRequireConfirmation},
		"the account speaks":                 {"", forbids, v1alpha1.DeletionForbid},
		"the account speaks before the flag": {v1alpha1.DeletionAllow, forbids, v1alpha1.DeletionForbid},
		"there is no account":                {v1alpha1.DeletionForbid, nil, v1alpha1.DeletionForbid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := (keys.Settings{DeletionPolicy: tc.flag}).Deletion(tc.account); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestDenyDeletion(t *testing.T) {
	t.Parallel()
	confirmed := func(value string) keystest.KeyOption {
		return func(k *v1alpha1.APIKey) { k.Annotations = map[string]string{v1alpha1.ConfirmDeletionAnnotation: value} }
	}
	for name, tc := range map[string]struct {
		option keystest.KeyOption
		policy v1alpha1.DeletionPolicy
		want   string // part of the message; empty: the deletion is allowed
	}{
		"allowed":                         {keystest.Label(""), v1alpha1.DeletionAllow, ""},
		"forbidden":                       {keystest.Label(""), v1alpha1.DeletionForbid, "kubectl apikey deactivate shop -n default, or kubectl patch apikey shop -n default"},
		"forbidden, confirmed or not":     {confirmed("shop"), v1alpha1.DeletionForbid, "kubectl patch"},
		"to be confirmed":                 {keystest.Label(""), v1alpha1.DeletionRequireConfirmation, "kubectl apikey delete shop -n default asks for it, or kubectl annotate apikey shop -n default apikey-manager.io/confirm-deletion=shop"},
		"confirmed":                       {confirmed("shop"), v1alpha1.DeletionRequireConfirmation, ""},
		"confirmed for another key":       {confirmed("blog"), v1alpha1.DeletionRequireConfirmation, "kubectl annotate"},
		"confirmed with true, not a name": {confirmed("true"), v1alpha1.DeletionRequireConfirmation, "kubectl annotate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := keys.DenyDeletion(keystest.Key("shop", tc.option), tc.policy)
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestAllowsQueueing(t *testing.T) {
	t.Parallel()
	queues := keystest.Policy(func(a *v1alpha1.AccountSpec) { a.Limits = &v1alpha1.Limits{Enforcement: v1alpha1.EnforcementQueue} })
	if keys.AllowsQueueing(keystest.NewAccount("acme")) || keys.AllowsQueueing(keystest.NewAccount("acme", keystest.MaxKeys(1))) || !keys.AllowsQueueing(keystest.NewAccount("acme", queues)) {
		t.Error("only an account with enforcement: Queue lets keys queue")
	}
}

func TestEffective_KeyOverridesAccount(t *testing.T) {
	t.Parallel()
	defaults := keystest.NewAccount("acme", keystest.Policy(func(a *v1alpha1.AccountSpec) {
		a.KeyDefaults = &v1alpha1.KeyDefaults{Scopes: []string{"read"}, Format: &v1alpha1.Format{Prefix: "acme"}}
	}))
	plain := keystest.NewAccount("acme")
	for name, tc := range map[string]struct {
		key        *v1alpha1.APIKey
		account    *v1alpha1.Account
		wantScopes []string
		wantPrefix string
	}{
		"neither says anything":          {keystest.Key("shop"), plain, nil, "ak"},
		"there is no account":            {keystest.Key("shop"), nil, nil, "ak"},
		"the account speaks":             {keystest.Key("shop"), defaults, []string{"read"}, "acme"},
		"the key speaks":                 {keystest.Key("shop", keystest.Scopes("write"), keystest.Format(v1alpha1.Format{Prefix: "live"})), defaults, []string{"write"}, "live"},
		"a format of its own, no prefix": {keystest.Key("shop", keystest.Format(v1alpha1.Format{Type: v1alpha1.FormatToken})), defaults, []string{"read"}, "ak"},
		"the key speaks, no account":     {keystest.Key("shop", keystest.Scopes("write"), keystest.Format(v1alpha1.Format{Prefix: "live"})), nil, []string{"write"}, "live"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.wantScopes, keys.EffectiveScopes(tc.key, tc.account)); diff != "" {
				t.Errorf("scopes, -want +got:\n%s", diff)
			}
			if got := keys.EffectiveFormat(tc.key, tc.account).Prefix; got != tc.wantPrefix {
				t.Errorf("prefix %q, want %q", got, tc.wantPrefix)
			}
		})
	}
}

func TestSecretName(t *testing.T) {
	t.Parallel()
	for want, k := range map[string]*v1alpha1.APIKey{
		"shop":  keystest.Key("shop"),
		"other": keystest.Key("shop", keystest.SecretName("other")),
		"blog":  keystest.Key("blog", keystest.SecretName("")),
	} {
		if got := keys.SecretName(k); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestRender_LabelsNameManagerAndAccount(t *testing.T) {
	t.Parallel()
	want := map[string]string{"app.kubernetes.io/managed-by": "apikey-manager", "apikey-manager.io/account": "acme"}
	content, err := keys.Render(keystest.Key("shop"), keystest.NewAccount("acme"), keys.SecretCredentials{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, content.Labels); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestIndexes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		key                     *v1alpha1.APIKey
		account, label, digests []string
	}{
		"with a label":    {keystest.Key("shop", keystest.Label("Tienda / web")), []string{"acme"}, []string{"acme/Tienda / web"}, nil},
		"without a label": {keystest.Key("shop", keystest.Account("zeta")), []string{"zeta"}, nil, nil},
		"with credentials": {
			keystest.Key("shop", keystest.WithCredential("a", v1alpha1.RoleCurrent, keystest.Epoch), keystest.Revoked("b", keystest.Epoch)),
			[]string{"acme"},
			nil,
			[]string{keystest.CredentialOf("a").SHA256, keystest.CredentialOf("b").SHA256},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for index, want := range map[string][]string{keys.IndexAccount: tc.account, keys.IndexLabel: tc.label, keys.IndexDigest: tc.digests} {
				if got := keys.Indexes[index](tc.key); !slices.Equal(got, want) {
					t.Errorf("%s: %q, want %q", index, got, want)
				}
			}
		})
	}
}

// Errors of the API server contain names, versions and times. A status must not.
func TestPublicMessage(t *testing.T) {
	t.Parallel()
	cause := errors.New("dial tcp 10.0.0.1:6443: connect: connection refused")
	public := &keys.PublicError{Message: "Could not create Secret shop", Err: cause}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"a public error":              {public, "Could not create Secret shop"},
		"a public error, wrapped":     {fmt.Errorf("attempt 17: %w", public), "Could not create Secret shop"},
		"a public error among others": {errors.Join(cause, public), "Could not create Secret shop"},
		"an error that is not public": {cause, "Reconciliation failed: see the log of the manager"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := keys.PublicMessage(tc.err); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if !errors.Is(public, cause) || public.Error() != "Could not create Secret shop: "+cause.Error() {
		t.Errorf("for logs it reads %q", public)
	}
}
