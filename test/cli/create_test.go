// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// fullFlags set every field that create has a flag for.
var fullFlags = []string{
	"--label", "Clave para integración", "--expiration", "2099-02-28", "--ip", "192.0.2.0/24,2001:db8::1", "--scope", "orders:read",
	"--email", "ops@example.com", "--days-before", "7,1", "--locale", "es", "--rotation-interval", "720h", "--rotation-overlap", "1h",
	"--format", "Token", "--prefix", "shop", "--secret-name", "shop-credentials", "--metadata", "models=a,b", "--metadata", "team=shop", "--state", "Inactive",
}

func fullSpec(account string) v1alpha1.APIKeySpec {
	return v1alpha1.APIKeySpec{
		Account: account, Label: "Clave para integración", Expiration: "2099-02-28", IPWhitelist: []string{"192.0.2.0/24", "2001:db8::1"},
		Scopes: []string{"orders:read"}, State: v1alpha1.KeyStateInactive,
		Notification: &v1alpha1.Notification{Emails: []string{"ops@example.com"}, DaysBefore: []int32{7, 1}, Locale: "es"},
		Rotation:     &v1alpha1.Rotation{Interval: "720h", Overlap: "1h"},
		Format:       &v1alpha1.Format{Type: v1alpha1.FormatToken, Prefix: "shop"},
		Secret:       &v1alpha1.SecretSpec{Name: "shop-credentials"},
		Metadata:     map[string]v1alpha1.MetadataValue{"models": "a,b", "team": "shop"},
	}
}

func TestCreate_SetsEveryFieldAndSaysWhereTheKeyIs(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace, account := w.namespace(t), controlplanetest.UniqueName("customer")
	out := w.run(t, "", append([]string{"create", "shop-key", "-n", namespace, "--account", account}, fullFlags...)...).succeed(t)
	contains(t, out, "apikey.apikey-manager.io/shop-key created: the key is Inactive", "it is in Secret shop-credentials",
		"kubectl apikey reveal shop-key -n "+namespace)

	k := controlplanetest.NewKey(namespace, "shop-key", account)
	w.Read(t, k)
	if diff := cmp.Diff(fullSpec(account), k.Spec); diff != "" {
		t.Errorf("the spec differs (-want +got):\n%s", diff)
	}
	if strings.Contains(out, w.Material(t, k)) {
		t.Error("create prints the key")
	}
}

func TestCreate_DryRunOfClientPrintsManifest(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace, account := w.namespace(t), controlplanetest.UniqueName("customer")
	args := append([]string{"create", "shop-key", "-n", namespace, "--account", account, "--dry-run=client", "-o", "yaml"}, fullFlags...)
	out := w.run(t, "", args...).succeed(t)
	var k v1alpha1.APIKey
	if err := yaml.UnmarshalStrict([]byte(out), &k); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fullSpec(account), k.Spec); diff != "" {
		t.Errorf("the spec differs (-want +got):\n%s", diff)
	}
	if strings.Contains(out, "status") || k.Kind != "APIKey" {
		t.Errorf("the output is no manifest:\n%s", out)
	}
	w.expectMissing(t, controlplanetest.NewKey(namespace, "shop-key", account))
}

func TestCreate_DryRunOfServerSavesNothing(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace := w.namespace(t)
	out := w.run(t, "", "create", "shop-key", "-n", namespace, "--account", "acme", "--dry-run=server").succeed(t)
	contains(t, out, "shop-key created (server dry run)")
	w.expectMissing(t, controlplanetest.NewKey(namespace, "shop-key", "acme"))
	w.run(t, "", "create", "shop-key", "-n", namespace, "--account", "acme", "--expiration", "tomorrow", "--dry-run=server").
		expectFailure(t, 1, "spec.expiration")
}

func TestCreate_PrintsDenialsAsOneSentence(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace := w.namespace(t)
	a := controlplanetest.NewAccount(controlplanetest.UniqueName("small"), func(s *v1alpha1.AccountSpec) {
		s.Limits = &v1alpha1.Limits{MaxKeys: new(int32(1))}
	})
	w.Create(t, a)
	w.run(t, "", "create", "first", "-n", namespace, "--account", a.Name, "--label", "Web").succeed(t)
	denied := w.run(t, "", "create", "second", "-n", namespace, "--account", a.Name)
	denied.expectFailure(t, 1, v1alpha1.ReasonLimitReached)
	if strings.Count(denied.errOut, "\n") != 1 || strings.Contains(denied.errOut, "webhook") {
		t.Errorf("the error is not one sentence: %q", denied.errOut)
	}
}

func TestCreate_InvalidCommandLines(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	for text, args := range map[string][]string{
		"--account is required":          {"create", "shop-key"},
		"accepts 1 arg":                  {"create", "--account", "acme"},
		"invalid value of --dry-run":     {"create", "shop-key", "--account", "acme", "--dry-run=maybe"},
		"unknown flag: --colour":         {"create", "shop-key", "--account", "acme", "--colour"},
		"invalid value of --output":      {"create", "shop-key", "--account", "acme", "-o", "xml"},
		"unknown command \"purge\"":      {"purge"},
		"invalid argument \"x\" for":     {"list", "--expiring-within", "x"},
		"must be Pending or Active":      {"list", "--state", "On"},
		"pass either --at or --never":    {"expire", "shop-key"},
		"no keys: pass their names":      {"deactivate", "-A"},
		"keys are both named and select": {"deactivate", "shop-key", "--all"},
		"must be whole seconds":          {"rotate", "shop-key", "--overlap", "1500ms"},
	} {
		w.run(t, "", args...).expectFailure(t, 2, text)
	}
}

// expectMissing fails the test if an object exists.
func (w *suite) expectMissing(t *testing.T, o client.Object) {
	t.Helper()
	if err := w.Admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
		t.Errorf("%s exists: %v", o.GetName(), err)
	}
}
