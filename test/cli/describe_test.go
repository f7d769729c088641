// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

func TestDescribe_PrintsTheKeyItsAccountAndEvents(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	a := controlplanetest.NewAccount(controlplanetest.UniqueName("customer"), func(s *v1alpha1.AccountSpec) {
		s.DisplayName, s.Plan = "Acme Tiendas", "pro"
		s.RateLimits = []v1alpha1.RateLimit{keystest.RateLimit("requests", 100, v1alpha1.RateLimitMinute)}
	})
	w.Create(t, a)
	k := controlplanetest.NewKey(w.namespace(t), "web", a.Name, func(s *v1alpha1.APIKeySpec) {
		s.Label, s.Metadata = "Página web", map[string]v1alpha1.MetadataValue{"team": "shop"}
	})
	w.Issue(t, k)
	var out string
	controlplanetest.Eventually(t, "the event is there", func() error {
		out = w.run(t, "", "describe", "web", "-n", k.Namespace).succeed(t)
		_, events, _ := strings.Cut(out, "Events:")
		return controlplanetest.Equal(strings.Join(strings.Fields(events)[:6], " "), "TYPE REASON AGE MESSAGE Normal Issued")
	})
	current := controlplanetest.CredentialOf(k, v1alpha1.RoleCurrent)
	contains(t, out, "Página web", "Acme Tiendas", "Active (spec.state: Active)", current.Hint, current.ID, "Conditions:", "History:",
		"pro", "shop", "100 per Minute")
	if strings.Contains(out, w.Material(t, k)) || strings.Contains(out, current.SHA256) {
		t.Error("describe prints the key or its digest")
	}
}

func TestDescribe_SaysWhyAKeyIsRefused(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	a := controlplanetest.NewAccount(controlplanetest.UniqueName("queue"), func(s *v1alpha1.AccountSpec) {
		s.Limits = &v1alpha1.Limits{MaxKeys: new(int32(0)), Enforcement: v1alpha1.EnforcementQueue}
	})
	w.Create(t, a)
	namespace := w.namespace(t)
	got := w.run(t, "", "create", "web", "-n", namespace, "--account", a.Name, "--timeout", "3s")
	got.expectFailure(t, 1, "saved, but not carried out yet: ")
	contains(t, got.errOut, "Warning: ")
	contains(t, w.run(t, "", "describe", "web", "-n", namespace).succeed(t), "Pending", v1alpha1.ReasonLimitReached)
}

func TestComplete_NamesKeysAndAccounts(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := w.issued(t, "web", "app")[0]
	contains(t, w.run(t, "", "__complete", "describe", "-n", k.Namespace, "").succeed(t), "app\n", "web\n", ":4\n")
	contains(t, w.run(t, "", "__complete", "delete", "-n", k.Namespace, "app", "").succeed(t), "web\n")
	contains(t, w.run(t, "", "__complete", "list", "--account", "").succeed(t), k.Spec.Account, ":4\n")
	contains(t, w.run(t, "", "__complete", "dea").succeed(t), "deactivate\t")
}
