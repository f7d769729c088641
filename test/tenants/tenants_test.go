// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package tenants_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
	"github.com/apikey-manager/apikey-manager/test/mailbox"
)

const (
	elsewhere = "elsewhere" // a namespace in which only those who have a role everywhere have one
	foreign   = "foreign"   // an account that only those who may use all may use
)

func TestTenants(t *testing.T) {
	f := start(t)
	documented := documentedOutcomes(t, f.plane.Root())
	tenants := f.tenants(t)
	t.Run("as", func(t *testing.T) {
		for _, u := range tenants {
			t.Run(strings.ReplaceAll(u.String(), " ", "-"), func(t *testing.T) {
				t.Parallel()
				u.check(t, documented)
			})
		}
	})
	t.Run("the manager wrote nothing else", f.checkManagerWrites)
	t.Run("each documented outcome is tried", func(t *testing.T) {
		for name := range documented {
			if !slices.ContainsFunc(outcomes, func(o outcome) bool { return o.name == name }) {
				t.Errorf("%s names %q, which no attempt of this suite is about", page, name)
			}
		}
	})
}

// check compares what a tenant brings about through keys alone with what is documented.
func (u *tenant) check(t *testing.T, documented map[string][]string) {
	u.T = t
	var got, want []string
	for _, o := range outcomes {
		direct := o.direct != nil && u.allowed(o.direct(u))
		if o.throughKeys(u) && !direct {
			got = append(got, o.name)
		}
		if slices.Contains(documented[o.name], u.String()) {
			want = append(want, o.name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what %s brings about through keys alone is not what %s says:\n-documented +seen:\n%s", u, page, diff)
	}
}

// fixture is the control plane that all tenants share.
type fixture struct {
	plane *controlplane.ControlPlane
	admin client.Client
	mail  *mailbox.Server
}

func start(t *testing.T) *fixture {
	t.Helper()
	port, err := controlplane.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{plane: controlplanetest.Start(t, controlplane.Options{WebhookPort: port, Tokens: true})}
	if !f.plane.HasControllers() {
		t.Skip("SKIPPED: no kube-controller-manager among the binaries: no token is issued, and no role aggregated")
	}
	f.admin = controlplanetest.Connect(t, f.plane.Config())
	if f.mail, err = mailbox.Start(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.mail.Close() })
	_, err = controlplanetest.StartManager(t.Context(), f.plane, controlplane.ManagerOptions{WebhookPort: port, Flags: []string{
		"--smtp-host=127.0.0.1", "--smtp-port=" + strconv.Itoa(f.mail.Port()), "--smtp-tls=none", "--smtp-from=api-keys@example.com",
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: elsewhere}})
	f.create(t, &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: foreign}, Spec: v1alpha1.AccountSpec{Limits: &v1alpha1.Limits{Unlimited: v1alpha1.SwitchEnabled}}})
	f.awaitAdmission(t)
	return f
}

// awaitAdmission waits until the API server asks the webhook and both policies.
func (f *fixture) awaitAdmission(t *testing.T) {
	t.Helper()
	probe := &tenant{T: t, fixture: f, access: access{role: "apikey-manager-editor"}, id: "probe", namespace: elsewhere, account: "probe"}
	probe.bind(t, elsewhere)
	probe.connect(t)
	reserved := newKey(elsewhere, "reserved", foreign)
	reserved.Spec.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{Labels: map[string]string{"argocd.argoproj.io/a": "b"}}}
	f.awaitRefusal(t, f.admin, reserved, "argocd.argoproj.io")
	f.awaitRefusal(t, probe.c, newKey(elsewhere, "unusable", foreign), "may not use account")
	templated := newKey(elsewhere, "templated", probe.account)
	templated.Spec.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{Labels: map[string]string{"a": "b"}}}
	probe.letUse(t)
	f.awaitRefusal(t, probe.c, templated, "spec.secret.template")
}

func (f *fixture) awaitRefusal(t *testing.T, c client.Client, key *v1alpha1.APIKey, because string) {
	t.Helper()
	controlplanetest.Eventually(t, "a key is refused because of "+because, func() error {
		err := c.Create(t.Context(), key.DeepCopy(), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), because) {
			return errors.Join(errors.New("not refused, or for another reason"), err)
		}
		return nil
	})
}

func (f *fixture) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := f.admin.Create(t.Context(), o); err != nil {
			t.Fatalf("create %s: %v", o.GetName(), err)
		}
	}
}

// clientAs connects as a user, who is authenticated and in no other group.
func (f *fixture) clientAs(t *testing.T, user string) client.Client {
	t.Helper()
	config := f.plane.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	return controlplanetest.Connect(t, config)
}

func newKey(namespace, name, account string) *v1alpha1.APIKey {
	return &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.APIKeySpec{Account: account}}
}

func clusterRole(name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
}

func merge(patch string) client.Patch {
	return client.RawPatch("application/merge-patch+json", []byte(patch))
}

// refused reports whether an error is an answer of the API server's authorization, admission or validation.
func refused(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) }

// get reads an object as an administrator, and reports whether it is there.
func (f *fixture) get(ctx context.Context, t *testing.T, namespace, name string, into client.Object) bool {
	t.Helper()
	err := f.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, into)
	if client.IgnoreNotFound(err) != nil {
		t.Error(err)
	}
	return err == nil
}
