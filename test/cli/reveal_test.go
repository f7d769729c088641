// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

func TestReveal(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace := w.namespace(t)
	k := controlplanetest.NewKey(namespace, "shop", controlplanetest.UniqueName("acme"), func(s *v1alpha1.APIKeySpec) {
		s.Secret = &v1alpha1.SecretSpec{PreviousKey: v1alpha1.PreviousKeyInclude, Template: &v1alpha1.SecretTemplate{Data: map[string]string{
			"config.json": `{"key":"{{ .Key }}","old":"{{ .PreviousKey }}"}`, "plain": "{{ .Key }}",
		}}}
	})
	w.Issue(t, k)
	first := string(w.Secret(t, k).Data["plain"])

	w.run(t, "", "reveal", "shop", "-n", namespace).expectFailure(t, 2, "use --yes", first)
	got := w.run(t, "", "reveal", "shop", "-n", namespace, "--yes")
	got.expect(t, first+"\n")
	if got.errOut != "" {
		t.Errorf("a valid key has the warning %q", got.errOut)
	}
	w.run(t, "", "reveal", "shop", "-n", namespace, "--yes", "--previous").expectFailure(t, 1, "no previous key", first)

	w.Change(t, k, func(s *v1alpha1.APIKeySpec) {
		s.Rotation = &v1alpha1.Rotation{RequestedAt: keystest.Instant(time.Now())}
	})
	w.AwaitStatus(t, k, "the key is rotated", func() error {
		return controlplanetest.Equal(string(w.Secret(t, k).Data["config.json"]), `{"key":"`+string(w.Secret(t, k).Data["plain"])+`","old":"`+first+`"}`)
	})
	w.run(t, "", "reveal", "shop", "-n", namespace, "--yes", "--previous").expect(t, first+"\n")

	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	w.Become(t, v1alpha1.StateInactive, k)
	got = w.run(t, "", "reveal", "shop", "-n", namespace, "--yes")
	got.expect(t, string(w.Secret(t, k).Data["plain"])+"\n")
	if !strings.Contains(got.errOut, "Warning: verifiers do not accept this key: it is Inactive") {
		t.Errorf("an inactive key has the warning %q", got.errOut)
	}
}

// A user who may write Secrets must not be able to pass off a key of another account as this one.
func TestReveal_RefusesForeignContent(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace := w.namespace(t)
	// The manager does not touch a Secret that is not owned by the key. The forged one claims to be.
	victim := controlplanetest.NewKey(namespace, "victim", controlplanetest.UniqueName("acme"))
	attacker := controlplanetest.NewKey(namespace, "attacker", controlplanetest.UniqueName("evil"))
	w.Issue(t, victim, attacker)
	planted := w.Material(t, attacker)
	secret := w.Secret(t, victim)
	secret.OwnerReferences, secret.Data[keys.EntryCurrent] = nil, []byte(planted)
	controlplanetest.Must(t, w.Admin.Update(t.Context(), secret))
	got := w.run(t, "", "reveal", "victim", "-n", namespace, "--yes")
	got.expectFailure(t, 1, "does not hold the key of APIKey victim", planted)
	if got.out != "" {
		t.Error("something was printed")
	}
}

func TestReveal_NamesMissingRight(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace, user := w.namespace(t), controlplanetest.UniqueName("viewer")
	k := controlplanetest.NewKey(namespace, "shop", controlplanetest.UniqueName("acme"))
	w.Issue(t, k)
	w.Create(t, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: user},
		RoleRef:    controlplanetest.ClusterRole("apikey-manager-viewer"), Subjects: controlplanetest.User(user),
	})
	controlplanetest.Eventually(t, "the user may read the key", func() error {
		return controlplanetest.ConnectAs(t, w.Plane, user).Get(t.Context(), objectKey(k), &v1alpha1.APIKey{})
	})
	w.run(t, "", "reveal", "shop", "-n", namespace, "--yes", "--as="+user).
		expectFailure(t, 1, "kubectl auth can-i get secret/shop -n "+namespace, w.Material(t, k))
	w.Create(t,
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"}, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"shop"}, Verbs: []string{"get"},
		}}},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "shop"}, Subjects: controlplanetest.User(user),
		})
	controlplanetest.Eventually(t, "the right to get one Secret is enough", func() error {
		got := w.run(t, "", "reveal", "shop", "-n", namespace, "--yes", "--as="+user)
		if got.code != 0 {
			return errors.New(got.errOut)
		}
		return controlplanetest.Equal(got.out, w.Material(t, k)+"\n")
	})
}
