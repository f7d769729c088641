// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package tenants_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	t.Run("exports", f.exports)
	t.Run("the manager writes only the expected kinds", f.checkManagerWrites)
	t.Run("each documented outcome is tested", func(t *testing.T) {
		for name := range documented {
			if !slices.ContainsFunc(outcomes, func(o outcome) bool { return o.name == name }) {
				t.Errorf("%s names %q, which no attempt of this suite is about", page, name)
			}
		}
	})
}

// check compares what the tenant can cause through keys alone with what is documented.
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

// fixture holds the control plane that all tenants share.
type fixture struct {
	controlplanetest.Objects

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
	f.Objects = controlplanetest.NewObjects(f.admin)
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
	f.Create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: elsewhere}})
	f.Create(t, &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: foreign}, Spec: v1alpha1.AccountSpec{Limits: &v1alpha1.Limits{Unlimited: v1alpha1.SwitchEnabled}}})
	f.awaitAdmission(t)
	return f
}

// awaitAdmission waits until the API server calls the webhook and evaluates the policies on keys.
func (f *fixture) awaitAdmission(t *testing.T) {
	t.Helper()
	probe := &tenant{T: t, fixture: f, access: access{role: "apikey-manager-editor"}, id: "probe", namespace: elsewhere, account: "probe"}
	probe.bind(t, elsewhere)
	probe.connect(t)
	reserved := controlplanetest.NewKey(elsewhere, "reserved", foreign)
	reserved.Spec.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{Labels: map[string]string{"argocd.argoproj.io/a": "b"}}}
	controlplanetest.AwaitDenied(t, f.admin, reserved, "argocd.argoproj.io")
	controlplanetest.AwaitDenied(t, probe.c, controlplanetest.NewKey(elsewhere, "unusable", foreign), "may not use account")
	templated := controlplanetest.NewKey(elsewhere, "templated", probe.account)
	templated.Spec.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{Labels: map[string]string{"a": "b"}}}
	probe.letUse(t)
	controlplanetest.AwaitDenied(t, probe.c, templated, "spec.secret.template")
}

// refused reports whether an error is a denial by authorization, admission or validation.
func refused(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) }

// get reads an object as an administrator, and reports whether it exists.
func (f *fixture) get(t *testing.T, namespace, name string, into client.Object) bool {
	t.Helper()
	into.SetNamespace(namespace)
	into.SetName(name)
	found, err := controlplanetest.Exists(t.Context(), f.admin, into)
	if err != nil {
		t.Error(err)
	}
	return found
}
