// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

const (
	home    = "shop"    // where users have a role by RoleBinding
	foreign = "kitchen" // where they have none

	ownerRole  = "apikey-manager-owner"
	editorRole = "apikey-manager-editor"
	viewerRole = "apikey-manager-viewer"
)

func TestAccess(t *testing.T) {
	plane := controlplanetest.Start(t, controlplane.Options{})
	w := &suite{plane: plane, admin: controlplanetest.Connect(t, plane.Config())}
	w.furnish(t)
	w.awaitPolicies(t)
	t.Run("an owner manages accounts and keys", w.owner)
	t.Run("an editor manages the keys of a namespace", w.editor)
	t.Run("a viewer reads keys and accounts", w.viewer)
	t.Run("a user without a role can do nothing", w.stranger)
	t.Run("built-in roles include the project roles", w.aggregation)
	t.Run("naming an account requires the right to use it", w.accountUse)
	t.Run("a template requires the right to create Secrets", w.secretTemplate)
	t.Run("an export requires a right in all namespaces", w.keyExport)
	t.Run("no built-in role includes KeyExports", w.exportsNotAggregated)
}

// suite holds what the tests share. The tests do not run in parallel.
type suite struct {
	plane *controlplane.ControlPlane
	admin client.Client
}

// furnish creates an account, and two namespaces with a key and its Secret in each.
func (w *suite) furnish(t *testing.T) {
	t.Helper()
	w.create(t, &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme"}})
	for _, namespace := range []string{home, foreign} {
		w.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		w.create(t, newKey(namespace, "present", "acme"))
		w.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "present"}})
		w.create(t, newExport(namespace, "present"))
	}
}

// everything holds the operations that a user may attempt, by name. They are dry runs, which the API server authorizes
// like other requests but does not carry out.
var everything = map[string]func(context.Context, client.Client) error{
	"read accounts": func(ctx context.Context, c client.Client) error {
		return errors.Join(c.List(ctx, &v1alpha1.AccountList{}), c.Get(ctx, client.ObjectKey{Name: "acme"}, &v1alpha1.Account{}))
	},
	"create accounts": func(ctx context.Context, c client.Client) error {
		return c.Create(ctx, &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "globex"}}, client.DryRunAll)
	},
	"change accounts": func(ctx context.Context, c client.Client) error {
		return c.Patch(ctx, &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}, merge(`{"spec":{"state":"Suspended"}}`), client.DryRunAll)
	},
	"delete accounts": func(ctx context.Context, c client.Client) error {
		return c.Delete(ctx, &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}, client.DryRunAll)
	},
	"write the status of accounts": func(ctx context.Context, c client.Client) error {
		return c.Status().Patch(ctx, &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}, merge(`{"status":{"slots":[]}}`), client.DryRunAll)
	},
	"read all keys": func(ctx context.Context, c client.Client) error {
		return c.List(ctx, &v1alpha1.APIKeyList{})
	},
	"read keys at home": readKeys(home), "read keys elsewhere": readKeys(foreign),
	"create keys at home": createKeys(home), "create keys elsewhere": createKeys(foreign),
	"change keys at home": changeKeys(home), "change keys elsewhere": changeKeys(foreign),
	"delete keys at home": deleteKeys(home), "delete keys elsewhere": deleteKeys(foreign),
	"write the status of keys": func(ctx context.Context, c client.Client) error {
		return c.Status().Patch(ctx, newKey(home, "present", "acme"), merge(`{"status":{"state":"Active"}}`), client.DryRunAll)
	},
	"read Secrets at home": readSecrets(home), "read Secrets elsewhere": readSecrets(foreign),
	"read all exports":     func(ctx context.Context, c client.Client) error { return c.List(ctx, &v1alpha1.KeyExportList{}) },
	"read exports at home": readExports(home), "read exports elsewhere": readExports(foreign),
	"create exports at home": createExports(home), "create exports elsewhere": createExports(foreign),
	"change exports at home": changeExports(home), "change exports elsewhere": changeExports(foreign),
	"label exports at home": labelExports(home), "label exports elsewhere": labelExports(foreign),
	"delete exports at home": deleteExports(home), "delete exports elsewhere": deleteExports(foreign),
	"write the status of exports": func(ctx context.Context, c client.Client) error {
		return c.Status().Patch(ctx, newExport(home, "present"), merge(`{"status":{"keys":1}}`), client.DryRunAll)
	},
}

func readKeys(namespace string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return errors.Join(c.List(ctx, &v1alpha1.APIKeyList{}, client.InNamespace(namespace)),
			c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "present"}, &v1alpha1.APIKey{}))
	}
}

func createKeys(namespace string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.Create(ctx, newKey(namespace, "another", "acme"), client.DryRunAll)
	}
}

func changeKeys(namespace string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.Patch(ctx, newKey(namespace, "present", "acme"), merge(`{"spec":{"state":"Inactive"}}`), client.DryRunAll)
	}
}

func deleteKeys(namespace string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return errors.Join(c.Delete(ctx, newKey(namespace, "present", "acme"), client.DryRunAll),
			c.DeleteAllOf(ctx, &v1alpha1.APIKey{}, client.InNamespace(namespace), client.DryRunAll))
	}
}

func readSecrets(namespace string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return errors.Join(c.List(ctx, &corev1.SecretList{}, client.InNamespace(namespace)),
			c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "present"}, &corev1.Secret{}))
	}
}

func (w *suite) owner(t *testing.T) {
	w.bindEverywhere(t, "olga", ownerRole)
	w.may(t, "olga", "read accounts", "create accounts", "change accounts", "delete accounts", "read all keys",
		"read keys at home", "create keys at home", "change keys at home", "delete keys at home",
		"read keys elsewhere", "create keys elsewhere", "change keys elsewhere", "delete keys elsewhere",
		"read all exports", "read exports at home", "create exports at home", "change exports at home", "label exports at home",
		"delete exports at home", "read exports elsewhere", "create exports elsewhere", "change exports elsewhere",
		"label exports elsewhere", "delete exports elsewhere")
}

func (w *suite) editor(t *testing.T) {
	w.bindAtHome(t, "erik", editorRole)
	w.may(t, "erik", "read keys at home", "delete keys at home")
	w.letUse(t, "erik", "acme")
	w.may(t, "erik", "read keys at home", "create keys at home", "change keys at home", "delete keys at home")
}

func (w *suite) viewer(t *testing.T) {
	w.bindEverywhere(t, "victor", viewerRole)
	w.may(t, "victor", "read accounts", "read all keys", "read keys at home", "read keys elsewhere")
	w.bindAtHome(t, "vera", viewerRole) // Accounts are cluster-scoped
	w.may(t, "vera", "read keys at home")
}

func (w *suite) stranger(t *testing.T) { w.may(t, "sam") }

// aggregation tests that a user with the role edit in a namespace can edit its keys, and a user with the role view can
// view them. The Secrets that an editor can read are those that the role edit itself grants.
func (w *suite) aggregation(t *testing.T) {
	if !w.plane.HasControllers() {
		t.Skip("there is no kube-controller-manager to aggregate roles")
	}
	keys := []string{"read keys at home", "delete keys at home"}
	for user, c := range map[string]struct {
		role string
		may  []string
	}{
		"anna": {"admin", append([]string{"read Secrets at home"}, keys...)},
		"emil": {"edit", append([]string{"read Secrets at home"}, keys...)},
		"vito": {"view", []string{"read keys at home"}},
	} {
		t.Run(c.role, func(t *testing.T) {
			w.bindAtHome(t, user, c.role)
			as := w.as(t, user)
			controlplanetest.Until(t, c.role+" may not read keys", func() bool { return everything["read keys at home"](t.Context(), as) == nil })
			w.may(t, user, c.may...)
			if c.role != "view" {
				w.letUse(t, user, "acme")
				w.may(t, user, append(c.may, "create keys at home", "change keys at home")...)
			}
		})
	}
	t.Run("view everywhere sees accounts", func(t *testing.T) {
		w.bindEverywhere(t, "vlad", "view")
		w.may(t, "vlad", "read accounts", "read all keys", "read keys at home", "read keys elsewhere")
	})
}

// may tests that a user may perform the listed operations and no others of everything.
func (w *suite) may(t *testing.T, user string, listed ...string) {
	t.Helper()
	c, allowed := w.as(t, user), map[string]bool{}
	for _, what := range listed {
		if everything[what] == nil {
			t.Fatalf("%q is not an operation of everything", what)
		}
		allowed[what] = true
	}
	for what, try := range everything {
		err := try(t.Context(), c)
		switch {
		case allowed[what] && err != nil:
			t.Errorf("%s may not %s: %v", user, what, err)
		case !allowed[what] && !forbidden(err):
			t.Errorf("%s may %s: got %v, want forbidden", user, what, err)
		}
	}
}

// forbidden reports whether each of the errors joined in err is a denial by the API server.
func forbidden(err error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return apierrors.IsForbidden(err)
	}
	for _, e := range joined.Unwrap() {
		if !apierrors.IsForbidden(e) {
			return false
		}
	}
	return true
}

// awaitPolicies waits until the API server, which watches policies, applies those of config/default.
func (w *suite) awaitPolicies(t *testing.T) {
	t.Helper()
	w.bindAtHome(t, "early", editorRole)
	early := w.as(t, "early")
	w.awaitRefusal(t, early, newKey(home, "early", "early"), "you may not use account")
	w.letUse(t, "early", "early")
	w.awaitRefusal(t, early, withTemplate(newKey(home, "early", "early")), "you may not set, change or remove spec.secret.template")
	w.bindAtHome(t, "early", ownerRole)
	w.awaitRefusal(t, early, newExport(home, "early"), "you may not create a KeyExport")
}

func (w *suite) awaitRefusal(t *testing.T, c client.Client, object client.Object, because string) {
	t.Helper()
	controlplanetest.Eventually(t, "an object is refused because "+because, func() error {
		err := c.Create(t.Context(), object.DeepCopyObject().(client.Object), client.DryRunAll)
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), because) {
			return errors.Join(errors.New("not refused for this reason"), err)
		}
		return nil
	})
}

// letUse grants a user the right to use an account, as described in docs/access.md, and waits until it is effective.
func (w *suite) letUse(t *testing.T, user, account string) {
	t.Helper()
	role := "use-" + account
	w.create(t, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: role},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"accounts"}, ResourceNames: []string{account},
			Verbs: []string{"use"},
		}},
	})
	w.bindEverywhere(t, user, role)
	c := w.as(t, user)
	controlplanetest.Eventually(t, user+" may use account "+account, func() error {
		return c.Create(t.Context(), newKey(home, "use", account), client.DryRunAll)
	})
}

// accountUse tests config/account-use.
func (w *suite) accountUse(t *testing.T) {
	w.bindAtHome(t, "eva", editorRole)
	eva := w.as(t, "eva")
	before := newKey(home, "before", "globex")
	w.create(t, before)
	const ask = "you may not use account acme in a key: ask for the verb use on accounts.apikey-manager.io named acme"
	err := eva.Create(t.Context(), newKey(home, "hers", "acme"), client.DryRunAll)
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), ask) {
		t.Errorf("without the right: got %v, want forbidden, because %q", err, ask)
	}
	w.letUse(t, "eva", "acme")
	if err := eva.Create(t.Context(), newKey(home, "hers", "acme")); err != nil {
		t.Errorf("with the right: %v", err)
	}
	t.Run("an account that does not exist yet requires the right, too", func(t *testing.T) {
		err := eva.Create(t.Context(), newKey(home, "ahead", "yet-to-come"), client.DryRunAll)
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "named yet-to-come") {
			t.Errorf("without the right: got %v, want forbidden, because of yet-to-come", err)
		}
		w.letUse(t, "eva", "yet-to-come")
	})
	t.Run("a RoleBinding does not grant the right to an account", func(t *testing.T) {
		w.bindAtHome(t, "nora", editorRole)
		w.bindAtHome(t, "nora", ownerRole)
		if err := w.as(t, "nora").Create(t.Context(), newKey(home, "hers", "acme"), client.DryRunAll); !apierrors.IsForbidden(err) {
			t.Errorf("got %v, want forbidden", err)
		}
	})
	t.Run("another account is rejected", func(t *testing.T) {
		err := eva.Create(t.Context(), newKey(home, "another", "globex"), client.DryRunAll)
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "named globex") {
			t.Errorf("got %v, want forbidden, because of globex", err)
		}
	})
	t.Run("a key of another account may not be changed, its metadata may", func(t *testing.T) {
		if err := eva.Patch(t.Context(), before.DeepCopy(), merge(`{"spec":{"state":"Inactive"}}`)); !apierrors.IsForbidden(err) {
			t.Errorf("change of spec: got %v, want forbidden", err)
		}
		if err := eva.Patch(t.Context(), before.DeepCopy(), merge(`{"metadata":{"annotations":{"example.com/seen":"yes"}}}`)); err != nil {
			t.Errorf("change of an annotation: %v", err)
		}
		if err := eva.Patch(t.Context(), before.DeepCopy(), merge(`{"spec":{"account":"globex"}}`)); err != nil {
			t.Errorf("no change at all: %v", err)
		}
		if err := eva.Delete(t.Context(), before.DeepCopy(), client.DryRunAll); err != nil {
			t.Errorf("deletion: %v", err)
		}
	})
	t.Run("a key of the account may be changed", func(t *testing.T) {
		if err := eva.Patch(t.Context(), newKey(home, "hers", "acme"), merge(`{"spec":{"state":"Inactive"}}`)); err != nil {
			t.Error(err)
		}
	})
	t.Run("an owner may use all accounts", func(t *testing.T) {
		w.bindEverywhere(t, "olga", ownerRole)
		if err := w.as(t, "olga").Create(t.Context(), newKey(home, "of-owner", "globex"), client.DryRunAll); err != nil {
			t.Error(err)
		}
	})
	t.Run("the manager may update but not patch status", func(t *testing.T) {
		manager := controlplanetest.Connect(t, w.plane.ManagerConfig())
		k := before.DeepCopy()
		if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k); err != nil {
			t.Fatal(err)
		}
		k.Status.ObservedGeneration, k.Status.State = 1, v1alpha1.StatePending
		if err := manager.Status().Update(t.Context(), k); err != nil {
			t.Error(err)
		}
		if err := manager.Status().Patch(t.Context(), k, merge(`{"status":{"state":"Active"}}`)); !apierrors.IsForbidden(err) {
			t.Errorf("got %v, want forbidden", err)
		}
	})
}

// secretTemplate tests config/secret-template.
func (w *suite) secretTemplate(t *testing.T) {
	w.bindAtHome(t, "tess", editorRole)
	w.letUse(t, "tess", "acme")
	tess, plain, templated := w.as(t, "tess"), newKey(home, "plain", "acme"), withTemplate(newKey(home, "templated", "acme"))
	w.create(t, plain)
	w.create(t, templated)
	const change, remove = `{"spec":{"secret":{"template":{"labels":{"a":"c"}}}}}`, `{"spec":{"secret":null}}`
	try := map[string]func() error{
		"set at creation": func() error {
			return tess.Create(t.Context(), withTemplate(newKey(home, "new", "acme")), client.DryRunAll)
		},
		"set later": func() error { return tess.Patch(t.Context(), plain.DeepCopy(), merge(change), client.DryRunAll) },
		"changed":   func() error { return tess.Patch(t.Context(), templated.DeepCopy(), merge(change), client.DryRunAll) },
		"removed":   func() error { return tess.Patch(t.Context(), templated.DeepCopy(), merge(remove), client.DryRunAll) },
	}
	const ask = "ask for the verb create on secrets in namespace " + home
	for what, do := range try {
		if err := do(); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), ask) {
			t.Errorf("without the right, %s: got %v, want forbidden, because %q", what, err, ask)
		}
	}
	for what, patch := range map[string]string{
		"the rest": `{"spec":{"label":"a"}}`, "the same": `{"spec":{"secret":{"template":{"labels":{"a":"b"}}}}}`,
	} {
		if err := tess.Patch(t.Context(), templated.DeepCopy(), merge(patch), client.DryRunAll); err != nil {
			t.Errorf("without the right, %s may not be set: %v", what, err)
		}
	}
	w.create(t, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "creates-secrets"}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"},
	}}})
	w.bindAtHome(t, "tess", "creates-secrets")
	for what, do := range try {
		controlplanetest.Eventually(t, "with the right, a template may be "+what, do)
	}
	t.Run("the right in another namespace does not count", func(t *testing.T) {
		w.create(t, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: foreign, Name: "tess"}, RoleRef: clusterRole(editorRole), Subjects: subjects("tess"),
		})
		w.awaitRefusal(t, tess, withTemplate(newKey(foreign, "new", "acme")), "secrets in namespace "+foreign)
	})
}

func withTemplate(key *v1alpha1.APIKey) *v1alpha1.APIKey {
	key.Spec.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{Labels: map[string]string{"a": "b"}}}
	return key
}

func (w *suite) create(t *testing.T, object client.Object) {
	t.Helper()
	if err := w.admin.Create(t.Context(), object); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
}

func (w *suite) bindEverywhere(t *testing.T, user, role string) {
	t.Helper()
	w.create(t, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: user + "-" + role}, RoleRef: clusterRole(role), Subjects: subjects(user)})
	w.awaitBinding(t, user, role)
}

func (w *suite) bindAtHome(t *testing.T, user, role string) {
	t.Helper()
	w.create(t, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: user + "-" + role}, RoleRef: clusterRole(role), Subjects: subjects(user),
	})
	w.awaitBinding(t, user, role)
}

// awaitBinding waits until the API server's authorizer, which watches bindings, has observed a binding.
func (w *suite) awaitBinding(t *testing.T, user, role string) {
	t.Helper()
	if !strings.HasPrefix(role, "apikey-manager-") {
		return
	}
	c := w.as(t, user)
	controlplanetest.Until(t, user+" did not become "+role, func() bool { return everything["read keys at home"](t.Context(), c) == nil })
}

func clusterRole(name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
}

func subjects(user string) []rbacv1.Subject {
	return []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}
}

// as returns a client that impersonates a user.
func (w *suite) as(t *testing.T, user string) client.Client {
	t.Helper()
	config := w.plane.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	return controlplanetest.Connect(t, config)
}

func newKey(namespace, name, account string) *v1alpha1.APIKey {
	return &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.APIKeySpec{Account: account}}
}

func merge(patch string) client.Patch {
	return client.RawPatch("application/merge-patch+json", []byte(patch))
}
