// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

func TestControlPlane(t *testing.T) {
	if testing.Short() {
		t.Skip("a control plane takes seconds")
	}
	ctrl.SetLogger(logr.Discard())
	began := time.Now()
	plane, err := controlplane.Start(t.Context(), controlplane.Options{Manifests: os.Getenv("CONTROLPLANE_MANIFESTS")})
	if errors.Is(err, controlplane.ErrNoBinaries) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %s", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() {
		began := time.Now()
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
		t.Logf("stopped in %s", time.Since(began).Round(time.Millisecond))
	})
	admin := controlplanetest.Connect(t, plane.Config())
	s := &suite{Objects: controlplanetest.NewObjects(admin), plane: plane, admin: admin}
	t.Run("the manager has the permissions of its ServiceAccount", s.identity)
	t.Run("objects owned by a deleted APIKey are collected", s.collection)
	t.Run("a namespace with keys can be deleted", s.namespace)
	t.Run("the API server restarts with its address and tokens", s.apiServerRestart)
	t.Run("etcd restarts with its data", s.etcdRestart)
	t.Run("webhooks call this machine", s.webhooks)
}

// suite holds what the tests share. They run one after the other.
type suite struct {
	controlplanetest.Objects

	plane *controlplane.ControlPlane
	admin client.Client
}

func (s *suite) identity(t *testing.T) {
	manager := controlplanetest.Connect(t, s.plane.ManagerConfig())
	review := &authenticationv1.SelfSubjectReview{}
	if err := manager.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	user := review.Status.UserInfo.Username
	if !strings.HasPrefix(user, "system:serviceaccount:"+s.plane.Namespace()+":") {
		t.Errorf("the manager is %q", user)
	}
	if err := manager.List(t.Context(), &v1alpha1.APIKeyList{}); err != nil {
		t.Errorf("the manager may not list APIKeys: %v", err)
	}
	if err := manager.List(t.Context(), &corev1.NodeList{}); !apierrors.IsForbidden(err) {
		t.Errorf("the manager asked for nodes: got %v, want forbidden", err)
	}
}

func (s *suite) collection(t *testing.T) {
	s.needControllers(t)
	key := s.newKey(t, "default", "owner")
	secret := s.newSecret(t, key)
	if err := s.admin.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	s.AwaitDeleted(t, secret)
}

func (s *suite) namespace(t *testing.T) {
	s.needControllers(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "passing"}}
	if err := s.admin.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	s.newSecret(t, s.newKey(t, namespace.Name, "owner"))
	if err := s.admin.Delete(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	s.AwaitDeleted(t, namespace)
}

func (s *suite) apiServerRestart(t *testing.T) {
	key := s.newKey(t, "default", "before-restart")
	began := time.Now()
	if err := s.plane.StopAPIServer(); err != nil {
		t.Fatal(err)
	}
	if err := s.admin.Get(t.Context(), client.ObjectKeyFromObject(key), key); err == nil {
		t.Error("a stopped API server answered")
	}
	stopped := time.Now()
	if err := s.plane.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("down in %s, up in %s", stopped.Sub(began).Round(time.Millisecond), time.Since(stopped).Round(time.Millisecond))
	if err := s.admin.Get(t.Context(), client.ObjectKeyFromObject(key), key); err != nil {
		t.Error(err)
	}
	if err := controlplanetest.Connect(t, s.plane.ManagerConfig()).List(t.Context(), &v1alpha1.APIKeyList{}); err != nil {
		t.Errorf("the manager's token did not survive: %v", err)
	}
}

func (s *suite) etcdRestart(t *testing.T) {
	key := s.newKey(t, "default", "before-etcd-restart")
	began := time.Now()
	if err := s.plane.StopEtcd(); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	if err := s.plane.StartEtcd(); err != nil {
		t.Fatal(err)
	}
	up := time.Now()
	if err := s.plane.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("down in %s, up in %s, found by the API server %s later", stopped.Sub(began).Round(time.Millisecond),
		up.Sub(stopped).Round(time.Millisecond), time.Since(up).Round(time.Millisecond))
	if err := s.admin.Get(t.Context(), client.ObjectKeyFromObject(key), key); err != nil {
		t.Error(err)
	}
}

// webhooks checks that the deletion of keys is denied while no manager runs, and that the error names its address.
func (s *suite) webhooks(t *testing.T) {
	key := s.newKey(t, "default", "guarded")
	port, err := controlplane.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.plane.InstallWebhooks(t.Context(), port); err != nil {
		t.Fatal(err)
	}
	controlplanetest.Until(t, "the webhook is not asked about a deletion", func() bool {
		err = s.admin.Delete(t.Context(), key, client.DryRunAll)
		return err != nil
	})
	if !strings.Contains(err.Error(), "https://127.0.0.1:") {
		t.Errorf("deletion with no manager: got %v, want a refusal that names https://127.0.0.1", err)
	}
}

func (s *suite) needControllers(t *testing.T) {
	t.Helper()
	if !s.plane.HasControllers() {
		t.Skip("no kube-controller-manager among the binaries")
	}
}

func (s *suite) newKey(t *testing.T, namespace, name string) *v1alpha1.APIKey {
	t.Helper()
	key := controlplanetest.NewKey(namespace, name, "acme")
	s.Create(t, key)
	return key
}

// newSecret creates a Secret that the key controls, like those that the manager creates.
func (s *suite) newSecret(t *testing.T, key *v1alpha1.APIKey) *corev1.Secret {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: key.Namespace, Name: key.Name,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(key, v1alpha1.GroupVersion.WithKind("APIKey"))},
	}}
	s.Create(t, secret)
	return secret
}
