// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package tenants_test

import (
	"errors"
	"fmt"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// access describes the permissions of a user.
type access struct {
	// role is a ClusterRole. It is bound in one namespace, or in all if everywhere is set.
	role       string
	everywhere bool
	// use reports whether the user may use the accounts named in tenant.letUse.
	use bool
}

// String returns the name of the access in the document.
func (a access) String() string {
	name := map[string]string{"apikey-manager-owner": "owner", "apikey-manager-editor": "editor", "apikey-manager-viewer": "viewer"}[a.role]
	if name == "" {
		name = a.role
	}
	if a.everywhere {
		name += " everywhere"
	}
	if a.use {
		name += " with use"
	}
	return name
}

// accesses returns each shipped and built-in role, bound in one namespace, with and without the right to use an account, and
// an owner as docs/access.md creates one.
func accesses() []access {
	all := []access{{role: "apikey-manager-owner", everywhere: true}}
	for _, role := range []string{"apikey-manager-owner", "apikey-manager-editor", "apikey-manager-viewer", "view", "edit", "admin"} {
		all = append(all, access{role: role}, access{role: role, use: true})
	}
	return all
}

// tenant is a user with a namespace and accounts of their own.
type tenant struct {
	*testing.T
	*fixture
	access

	c                        client.Client
	id, namespace            string
	account, small, keeping  string // accounts that exist: with room, with room for one key, whose keys can't be deleted
	created, createdUnusable string // accounts that are yet to exist
}

func (f *fixture) tenants(t *testing.T) []*tenant {
	t.Helper()
	var all []*tenant
	for i, a := range accesses() {
		id := fmt.Sprintf("user-%d", i)
		u := &tenant{
			T: t, fixture: f, access: a, id: id, namespace: id, account: id, small: id + "-small", keeping: id + "-keeping",
			created: id + "-created", createdUnusable: id + "-unusable",
		}
		u.createObjects(t)
		all = append(all, u)
	}
	for _, u := range all {
		u.awaitSecrets(t, "templated", "untemplated", "doomed", "finalized", "kept")
		u.awaitStatus(controlplanetest.NewKey(elsewhere, u.id, foreign))
	}
	return all
}

// createObjects creates the namespace and the accounts of the tenant, and an administrator's keys and Secrets in that
// namespace.
func (u *tenant) createObjects(t *testing.T) {
	t.Helper()
	room, one, told := int32(100), int32(1), int32(4711)
	u.Create(t,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: u.namespace}},
		&v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: u.account}, Spec: v1alpha1.AccountSpec{
			Limits: &v1alpha1.Limits{MaxKeys: &room}, AllowedScopes: []string{"told:by-the-account"}, LabelPolicy: v1alpha1.LabelShared,
			Metadata:   map[string]v1alpha1.MetadataValue{"tier": "told-by-the-account"},
			RateLimits: []v1alpha1.RateLimit{{Name: "requests", Requests: &told, Unit: v1alpha1.RateLimitMinute}},
		}},
		&v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: u.small}, Spec: v1alpha1.AccountSpec{Limits: &v1alpha1.Limits{MaxKeys: &one}}},
		&v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: u.keeping}, Spec: v1alpha1.AccountSpec{DeletionPolicy: v1alpha1.DeletionForbid}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: u.namespace, Name: "present"}, StringData: map[string]string{"a": "b"}},
		controlplanetest.NewKey(u.namespace, "doomed", u.account), controlplanetest.NewKey(u.namespace, "finalized", u.account), controlplanetest.NewKey(u.namespace, "kept", u.keeping),
		controlplanetest.NewKey(elsewhere, u.id, foreign),
	)
	for _, name := range []string{"templated", "untemplated"} {
		key := controlplanetest.NewKey(u.namespace, name, u.account)
		key.Spec.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{
			Data: map[string]string{"config": "label: {{ .Label }}", "api-key": "{{ .Key }}"},
		}}
		u.Create(t, key)
	}
	u.createServiceAccount(t)
	u.bind(t, u.namespace)
	u.bind(t, metav1.NamespaceSystem) // where a Secret may let a node join
	if u.use {
		u.letUse(t)
	}
	u.connect(t)
}

// bind binds the role to the tenant.
func (u *tenant) bind(t *testing.T, namespace string) {
	t.Helper()
	subjects := controlplanetest.User(u.id)
	if u.everywhere {
		u.Create(t, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: u.id + "-" + namespace}, RoleRef: controlplanetest.ClusterRole(u.role), Subjects: subjects,
		})
		return
	}
	u.Create(t, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: u.id}, RoleRef: controlplanetest.ClusterRole(u.role), Subjects: subjects,
	})
}

// letUse grants the tenant the right to use its accounts, as docs/access.md does.
func (u *tenant) letUse(t *testing.T) {
	t.Helper()
	u.Create(t,
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "use-" + u.id}, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"accounts"}, Verbs: []string{"use"},
			ResourceNames: []string{u.account, u.small, u.keeping, u.created},
		}}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "use-" + u.id}, RoleRef: controlplanetest.ClusterRole("use-" + u.id),
			Subjects: controlplanetest.User(u.id),
		},
	)
}

// connect waits until the API server's authorizer has observed the permissions of the tenant.
func (u *tenant) connect(t *testing.T) {
	t.Helper()
	u.c = controlplanetest.ConnectAs(t, u.plane, u.id)
	group := v1alpha1.GroupVersion.Group
	u.awaitRight(t, authorizationv1.ResourceAttributes{Namespace: u.namespace, Verb: "list", Group: group, Resource: "apikeys"})
	if u.use {
		u.awaitRight(t, authorizationv1.ResourceAttributes{Verb: "use", Group: group, Resource: "accounts", Name: u.account})
	}
}

func (u *tenant) awaitRight(t *testing.T, right authorizationv1.ResourceAttributes) {
	t.Helper()
	controlplanetest.Eventually(t, u.String()+" may "+right.Verb+" "+right.Resource, func() error {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &right}}
		if err := u.c.Create(t.Context(), review); err != nil {
			return err
		}
		if !review.Status.Allowed {
			return errors.New(review.Status.Reason)
		}
		return nil
	})
}

// awaitSecrets waits until the administrator's keys have Secrets.
func (u *tenant) awaitSecrets(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if key := u.awaitStatus(controlplanetest.NewKey(u.namespace, name, "")); key.Status.SecretRef == nil {
			t.Fatalf("key %s has no Secret: %+v", name, key.Status.Conditions)
		}
	}
}

// allowed reports whether the API server allowed a request of the tenant. Any error other than a denial fails the test.
func (u *tenant) allowed(err error) bool {
	u.Helper()
	if err != nil && !refused(err) {
		u.Errorf("%s: neither done nor refused: %v", u, err)
	}
	return err == nil
}

// key returns a key in the namespace and of the account of the tenant.
func (u *tenant) key(name string) *v1alpha1.APIKey {
	return controlplanetest.NewKey(u.namespace, name, u.account)
}

// createKey creates a key as the tenant, and returns it when the manager has reconciled it, or nil if it was denied.
func (u *tenant) createKey(key *v1alpha1.APIKey) *v1alpha1.APIKey {
	u.Helper()
	if !u.allowed(u.c.Create(u.Context(), key)) {
		return nil
	}
	return u.awaitStatus(key)
}

// change patches a key as the tenant, waits until the manager has reconciled it, and reports whether the patch was allowed.
func (u *tenant) change(name, patch string) bool {
	u.Helper()
	key := u.key(name)
	if !u.allowed(u.c.Patch(u.Context(), key, controlplanetest.MergePatch(patch))) {
		return false
	}
	u.awaitStatus(key)
	return true
}

// awaitStatus waits until the manager has reconciled a key.
func (u *tenant) awaitStatus(key *v1alpha1.APIKey) *v1alpha1.APIKey {
	u.Helper()
	controlplanetest.Eventually(u.T, "the manager has dealt with key "+key.Name, func() error {
		if err := u.admin.Get(u.Context(), client.ObjectKeyFromObject(key), key); err != nil {
			return err
		}
		conditions := key.Status.Conditions
		ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
		switch {
		case ready == nil || ready.ObservedGeneration != key.Generation:
			return errors.New("no status yet")
		case ready.Status == metav1.ConditionTrue, meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled),
			meta.IsStatusConditionFalse(conditions, v1alpha1.ConditionAccepted):
			return nil
		}
		return fmt.Errorf("%s: %s", ready.Reason, ready.Message)
	})
	return key
}

// secret reads a Secret of the tenant's namespace as an administrator. It returns nil if the Secret does not exist.
func (u *tenant) secret(name string) *corev1.Secret {
	u.Helper()
	secret := &corev1.Secret{}
	if !u.get(u.T, u.namespace, name, secret) {
		return nil
	}
	return secret
}
