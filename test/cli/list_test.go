// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

func TestList_SelectsByEveryFlag(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace, account := w.namespace(t), controlplanetest.UniqueName("customer")
	soon := time.Now().Add(3 * time.Hour).UTC().Format(time.RFC3339)
	web := controlplanetest.NewKey(namespace, "web", account, func(s *v1alpha1.APIKeySpec) { s.Label, s.Expiration = "Página web", soon })
	app := controlplanetest.NewKey(namespace, "app", account, func(s *v1alpha1.APIKeySpec) { s.Label = "App" })
	app.Labels = map[string]string{"team": "mobile"}
	other := controlplanetest.NewKey(namespace, "other", controlplanetest.UniqueName("customer"))
	w.Issue(t, web, app, other)
	w.Change(t, app, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	w.Become(t, v1alpha1.StateInactive, app)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "app other web"},
		{[]string{"--account", account}, "app web"},
		{[]string{"--label", "Página web"}, "web"},
		{[]string{"--state", "inactive"}, "app"},
		{[]string{"--key-id", other.Status.KeyID}, "other"},
		{[]string{"-l", "team=mobile"}, "app"},
		{[]string{"--expiring-within", "1d"}, "web"},
		{[]string{"--expiring-within", "1h"}, ""},
		{[]string{"--unused-since", "1d"}, ""},
		{[]string{"--account", account, "--state", "Active"}, "web"},
	} {
		out := w.run(t, "", append([]string{"ls", "-n", namespace, "-o", "name"}, tc.args...)...).succeed(t)
		if got := strings.Join(strings.Fields(strings.ReplaceAll(out, "apikey.apikey-manager.io/", "")), " "); got != tc.want {
			t.Errorf("list %v prints %q, want %q", tc.args, got, tc.want)
		}
	}
}

func TestList_PrintsColumnsAndFormats(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace, account := w.namespace(t), controlplanetest.UniqueName("customer")
	k := controlplanetest.NewKey(namespace, "web", account, func(s *v1alpha1.APIKeySpec) { s.Label = "Tienda" })
	w.Issue(t, k)
	created := k.CreationTimestamp.UTC().Format(time.RFC3339)
	hint := controlplanetest.CredentialOf(k, v1alpha1.RoleCurrent).Hint

	rows := fields(w.run(t, "", "list", "-A", "--account", account, "-o", "wide").succeed(t))
	if len(rows) != 2 || rows[0] != "NAMESPACE NAME ACCOUNT LABEL STATE READY KEY EXPIRES LAST-USED AGE CREATED KEY-ID SECRET REASON" {
		t.Fatalf("the table is %q", rows)
	}
	contains(t, rows[1], strings.Join([]string{namespace, "web", account, "Tienda", "Active", "True", hint}, " "),
		strings.Join([]string{created, k.Status.KeyID, "web", "Active"}, " "))
	w.run(t, "", "get", "web", "-n", namespace, "-o", "jsonpath={.spec.label}").expect(t, "Tienda")
	contains(t, w.run(t, "", "get", "web", "-n", namespace, "-o", "yaml").succeed(t), "kind: APIKey\n", "label: Tienda\n")
	contains(t, w.run(t, "", "list", "-n", namespace, "-o", "json").succeed(t), `"kind": "APIKeyList"`, `"kind": "APIKey"`)
	w.run(t, "", "get", "missing", "-n", namespace).expectFailure(t, 1, `"missing" not found`)
	none := w.run(t, "", "list", "-n", namespace, "--label", "Nada")
	if none.code != 0 || none.out != "" || none.errOut != "No keys found\n" {
		t.Errorf("an empty list is %+v", none)
	}
}

func TestList_ReadsInPages(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	const keys = 501 // one more than a page holds
	namespace := w.namespace(t)
	// The manager issues none of these keys, which keeps the test short.
	a := controlplanetest.NewAccount(controlplanetest.UniqueName("queue"), func(s *v1alpha1.AccountSpec) {
		s.Limits = &v1alpha1.Limits{MaxKeys: new(int32(0)), Enforcement: v1alpha1.EnforcementQueue}
	})
	w.Create(t, a)
	for range keys {
		w.Create(t, controlplanetest.NewKey(namespace, controlplanetest.UniqueName("bulk"), a.Name))
	}
	out := w.run(t, "", "list", "-n", namespace, "--no-headers").succeed(t)
	rows := fields(out)
	if len(rows) != keys || !slices.IsSorted(rows) {
		t.Errorf("the list has %d rows, sorted %t; want %d", len(rows), slices.IsSorted(rows), keys)
	}
}

func TestList_WorksInOneNamespaceWithoutOtherRights(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace, user := w.namespace(t), controlplanetest.UniqueName("viewer")
	k := controlplanetest.NewKey(namespace, "web", controlplanetest.UniqueName("customer"))
	w.Issue(t, k)
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: user}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"apikeys"}, Verbs: []string{"get", "list"},
	}}}
	w.Create(t, role, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: user}, Subjects: controlplanetest.User(user),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
	})
	controlplanetest.Eventually(t, "the role is in force", func() error {
		return controlplanetest.Equal(w.run(t, "", "list", "--as", user, "-n", namespace, "-o", "name").out, "apikey.apikey-manager.io/web\n")
	})
	out := w.run(t, "", "describe", "web", "--as", user, "-n", namespace).succeed(t)
	contains(t, out, "Account policy:", "unknown: accounts.apikey-manager.io", "cannot get resource", "Events:", "unknown: events")
	w.run(t, "", "list", "--as", user, "-A").expectFailure(t, 1, `cannot list resource "apikeys"`)
	w.run(t, "", "deactivate", "web", "--as", user, "-n", namespace).expectFailure(t, 1, `cannot patch resource "apikeys"`)
}
