// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"errors"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// ConnectAs returns a client of an authenticated user who has only the permissions that the test grants.
func ConnectAs(t *testing.T, plane *controlplane.ControlPlane, user string) client.Client {
	t.Helper()
	config := plane.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	return Connect(t, config)
}

// ClusterRole returns a reference to a ClusterRole.
func ClusterRole(name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
}

// User returns the subjects of a binding for one user.
func User(name string) []rbacv1.Subject {
	return []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}}
}

// MergePatch returns a JSON merge patch.
func MergePatch(patch string) client.Patch {
	return client.RawPatch(types.MergePatchType, []byte(patch))
}

// AwaitDenied waits until the creation of a key is denied with an error that contains a text.
func AwaitDenied(t *testing.T, c client.Client, k *v1alpha1.APIKey, text string) {
	t.Helper()
	Eventually(t, "a key is denied with "+text, func() error {
		err := c.Create(t.Context(), k.DeepCopy(), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), text) {
			return errors.Join(errors.New("the key is not denied, or with another error"), err)
		}
		return nil
	})
}
