// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// RD Station Marketing: at most five keys with unique names, that never expire, are never deleted, and allow conversions
// only. A key travels in the query string as api_key.

// rdStation creates an account like the one in config/samples/account-forbid-deletion.yaml.
func (w *suite) rdStation(t *testing.T) *v1alpha1.Account {
	t.Helper()
	five := int32(5)
	return w.newAccount(t, v1alpha1.AccountSpec{
		TimeZone:         "America/Sao_Paulo",
		Limits:           &v1alpha1.Limits{MaxKeys: &five},
		DeletionPolicy:   v1alpha1.DeletionForbid,
		ExpirationPolicy: &v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationForbidden},
		AllowedScopes:    []string{"conversions:write"},
		KeyDefaults:      &v1alpha1.KeyDefaults{Scopes: []string{"conversions:write"}},
	})
}

func TestRDStation_AtMostFiveKeysWithUniqueNames(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.rdStation(t), w.newNamespace(t)
	var list []*v1alpha1.APIKey
	for i := range 5 {
		list = append(list, newKey(namespace, fmt.Sprintf("key-%d", i), v1alpha1.APIKeySpec{Account: account.Name, Label: fmt.Sprintf("Landing %d", i)}))
	}
	w.Issue(t, list...)
	sixth := newKey(namespace, "key-5", v1alpha1.APIKeySpec{Account: account.Name, Label: "Landing 5"})
	expectDenied(t, w.Admin.Create(t.Context(), sixth.DeepCopy()), v1alpha1.ReasonLimitReached, "5")

	// An inactive key still counts towards the limit.
	w.Change(t, list[0], func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	w.Become(t, v1alpha1.StateInactive, list[0])
	expectDenied(t, w.Admin.Create(t.Context(), sixth.DeepCopy()), v1alpha1.ReasonLimitReached)
	controlplanetest.Eventually(t, "the account says 5/5", func() error {
		if err := w.Admin.Get(t.Context(), client.ObjectKeyFromObject(account), account); err != nil {
			return err
		}
		if account.Status.Keys == nil || account.Status.Keys.Usage != "5/5" || account.Status.Keys.Inactive == nil || *account.Status.Keys.Inactive != 1 {
			return fmt.Errorf("it says %+v", account.Status.Keys)
		}
		return nil
	})
	expectDenied(t, w.tryChange(t, list[1], func(s *v1alpha1.APIKeySpec) { s.Label = "Landing 2" }), v1alpha1.ReasonLabelTaken)
}

func TestRDStation_KeysAllowConversionsOnly(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.rdStation(t), w.newNamespace(t)
	k := newKey(namespace, "landing", v1alpha1.APIKeySpec{Account: account.Name, Label: "Landing"})
	w.Issue(t, k)
	if k.Status.ExpirationTime != nil {
		t.Errorf("the key expires at %v", k.Status.ExpirationTime)
	}
	if got := keys.EffectiveScopes(k, account); len(got) != 1 || got[0] != "conversions:write" {
		t.Errorf("the key may do %v", got)
	}
	expectDenied(t, w.tryChange(t, k, func(s *v1alpha1.APIKeySpec) { s.Expiration = "2099-02-28" }), v1alpha1.ReasonExpirationForbidden)
	for _, scope := range []string{"contacts:read", "conversions:*", "*"} {
		other := newKey(namespace, controlplanetest.UniqueName("wide"), v1alpha1.APIKeySpec{Account: account.Name, Scopes: []string{scope}})
		expectDenied(t, w.Admin.Create(t.Context(), other), v1alpha1.ReasonScopeNotAllowed)
	}
}

func TestRDStation_KeyIsReadFromQuery(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := newKey(w.newNamespace(t), "landing", v1alpha1.APIKeySpec{Account: w.rdStation(t).Name, Label: "Landing"})
	w.Issue(t, k)
	material := w.Material(t, k)
	calling := func(query string) map[string]string {
		return map[string]string{"X-Original-URI": "/platform/conversions?" + query}
	}
	verifier := w.verifiers.With(t, "--key-source=query:api_key")
	w.awaitVerdict(t, "VALID", verifier, "scopes=conversions:write", calling("api_key="+material))
	expectVerdict(t, "VALID", verifier, "scopes=conversions:write", calling("event=CONVERSION&api_key="+material+"&x=1"))
	expectVerdict(t, "403 SCOPE_MISSING", verifier, "scopes=contacts:read", calling("api_key="+material))
	expectVerdict(t, "401 AMBIGUOUS", verifier, "", calling("api_key="+material+"&api_key="+material))
	expectVerdict(t, "401 MISSING", verifier, "", calling("key="+material))
	expectVerdict(t, "401 MISSING", verifier, "", keyHeader(material))
	expectVerdict(t, "401 MISSING", w.verifiers.With(t), "", calling("api_key="+material)) // unless asked, queries are not read

	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	w.awaitVerdict(t, "401 INACTIVE", verifier, "", calling("api_key="+material))
	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateActive })
	w.awaitVerdict(t, "VALID", verifier, "", calling("api_key="+material))
}

func TestRDStation_KeysCanBeDisabledNotDeleted(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.rdStation(t), w.newNamespace(t)
	k := newKey(namespace, "landing", v1alpha1.APIKeySpec{Account: account.Name, Label: "Landing"})
	w.Issue(t, k)
	material := w.Material(t, k)
	for _, args := range [][]string{
		{"delete", "apikey", "landing", "-n", namespace},
		{"delete", "apikeys", "--all", "-n", namespace},
		{"delete", "apikey", "landing", "-n", namespace, "--force", "--grace-period=0"},
	} {
		if out, err := w.kubectl(t, args...); err == nil || !strings.Contains(out, "forbids the deletion of keys") || !strings.Contains(out, "landing") {
			t.Errorf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	if _, err := w.kubectl(t, "delete", "account", account.Name); err == nil {
		t.Error("the account was deleted under its keys")
	}
	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	w.Become(t, v1alpha1.StateInactive, k)
	expectDenied(t, w.Admin.Delete(t.Context(), k), "forbids the deletion of keys")
	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateActive })
	w.Become(t, v1alpha1.StateActive, k)
	if w.Material(t, k) != material {
		t.Error("the key is another one after it was activated again")
	}
}

func TestRDStation_OnlyManagersAndOwnersManageKeys(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.rdStation(t), w.newNamespace(t)
	owner, manager, analyst, outsider := controlplanetest.UniqueName("owner"), controlplanetest.UniqueName("manager"), controlplanetest.UniqueName("analyst"), controlplanetest.UniqueName("outsider")
	w.Create(t,
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: owner}, RoleRef: controlplanetest.ClusterRole("apikey-manager-owner"), Subjects: controlplanetest.User(owner)},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: manager, Namespace: namespace}, RoleRef: controlplanetest.ClusterRole("apikey-manager-editor"), Subjects: controlplanetest.User(manager)},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: analyst, Namespace: namespace}, RoleRef: controlplanetest.ClusterRole("apikey-manager-viewer"), Subjects: controlplanetest.User(analyst)},
	)
	// The manager of keys may also use the account.
	w.Create(t,
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: manager}, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"accounts"}, Verbs: []string{"use"}, ResourceNames: []string{account.Name},
		}}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: manager}, RoleRef: controlplanetest.ClusterRole(manager), Subjects: controlplanetest.User(manager)},
	)
	for person, may := range map[string]bool{owner: true, manager: true, analyst: false, outsider: false} {
		k := newKey(namespace, "by-"+person, v1alpha1.APIKeySpec{Account: account.Name, Label: person})
		controlplanetest.Eventually(t, person+" gets the right answer", func() error {
			switch err := controlplanetest.ConnectAs(t, w.Plane, person).Create(t.Context(), k.DeepCopy(), client.DryRunAll); {
			case may:
				return err
			case !apierrors.IsForbidden(err):
				return fmt.Errorf("creating a key was answered %w", errOrAccepted(err))
			}
			return nil
		})
	}
	k := newKey(namespace, "landing", v1alpha1.APIKeySpec{Account: account.Name, Label: "Landing"})
	if err := controlplanetest.ConnectAs(t, w.Plane, manager).Create(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	w.Become(t, v1alpha1.StateActive, k)
	off := controlplanetest.MergePatch(`{"spec":{"state":"Inactive"}}`)
	if err := controlplanetest.ConnectAs(t, w.Plane, analyst).Get(t.Context(), client.ObjectKeyFromObject(k), k.DeepCopy()); err != nil {
		t.Errorf("an analyst can't see a key: %v", err)
	}
	if err := controlplanetest.ConnectAs(t, w.Plane, analyst).Patch(t.Context(), k.DeepCopy(), off); !apierrors.IsForbidden(err) {
		t.Errorf("an analyst switched a key off: %v", err)
	}
	for _, person := range []string{manager, analyst} {
		if err := controlplanetest.ConnectAs(t, w.Plane, person).Get(t.Context(), client.ObjectKeyFromObject(k), w.Secret(t, k)); !apierrors.IsForbidden(err) {
			t.Errorf("%s read the key itself through our roles: %v", person, err)
		}
		raise := controlplanetest.MergePatch(`{"spec":{"limits":{"maxKeys":50}}}`)
		if err := controlplanetest.ConnectAs(t, w.Plane, person).Patch(t.Context(), account.DeepCopy(), raise); !apierrors.IsForbidden(err) {
			t.Errorf("%s raised the limit: %v", person, err)
		}
	}
	if err := controlplanetest.ConnectAs(t, w.Plane, manager).Patch(t.Context(), k, off); err != nil {
		t.Errorf("a Manager can't switch a key off: %v", err)
	}
	w.Become(t, v1alpha1.StateInactive, k)
}

func TestRDStation_ManagerIsLimitedToOneAccount(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	own, other, namespace, manager := w.rdStation(t), w.rdStation(t), w.newNamespace(t), controlplanetest.UniqueName("manager")
	w.Create(t,
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: manager}, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"accounts"}, Verbs: []string{"use"}, ResourceNames: []string{own.Name},
		}}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: manager}, RoleRef: controlplanetest.ClusterRole(manager), Subjects: controlplanetest.User(manager)},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: manager, Namespace: namespace}, RoleRef: controlplanetest.ClusterRole("apikey-manager-editor"), Subjects: controlplanetest.User(manager)},
	)
	controlplanetest.Eventually(t, "the policy is in force", func() error {
		err := controlplanetest.ConnectAs(t, w.Plane, manager).Create(t.Context(), newKey(namespace, "theirs", v1alpha1.APIKeySpec{Account: other.Name}), client.DryRunAll)
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "may not use account "+other.Name) {
			return fmt.Errorf("a key of the other account was answered %w", errOrAccepted(err))
		}
		return nil
	})
	k := newKey(namespace, "ours", v1alpha1.APIKeySpec{Account: own.Name, Label: "Ours"})
	if err := controlplanetest.ConnectAs(t, w.Plane, manager).Create(t.Context(), k); err != nil {
		t.Fatalf("a key of the own account: %v", err)
	}
	w.Become(t, v1alpha1.StateActive, k) // the manager's own writes are not in the policy's way
}

func errOrAccepted(err error) error {
	if err == nil {
		return errors.New("yes")
	}
	return err
}

func TestRDStation_PluginListsOnAndOff(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.rdStation(t), w.newNamespace(t)
	on := newKey(namespace, "landing", v1alpha1.APIKeySpec{Account: account.Name, Label: "Landing"})
	off := newKey(namespace, "popup", v1alpha1.APIKeySpec{Account: account.Name, Label: "Popup"})
	w.Issue(t, on, off)
	w.mustAPIKey(t, "deactivate", "popup", "-n", namespace)
	for state, want := range map[string]string{"Active": "landing", "Inactive": "popup"} {
		out := w.mustAPIKey(t, "list", "-A", "--account", account.Name, "--state", state, "-o", "name")
		if out != "apikey.apikey-manager.io/"+want+"\n" {
			t.Errorf("the keys that are %s are %q", state, out)
		}
	}
	out, code := w.apikey(t, "delete", "landing", "-n", namespace, "--yes")
	if way := "kubectl apikey deactivate landing -n " + namespace; code != 1 || !strings.Contains(out, way) {
		t.Errorf("a deletion ends with code %d, and does not name %q: %s", code, way, out)
	}
}
