// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package verifier_test proves what the verifier's own binary promises together with a real API server and the manager's
// own binary: what holds while either is away, how use and enforcement come back to people, and that it has no right to
// more than it needs.
package verifier_test

import (
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// suite is a control plane with a manager and a verifier.
type suite struct {
	plane     *controlplane.ControlPlane
	admin     client.Client
	manager   *controlplane.Manager
	verifiers *controlplanetest.Verifiers
	verifier  *controlplane.Verifier // the first
}

// TestVerifier tells one story, in order: each part takes away something that the next can do without.
func TestVerifier(t *testing.T) {
	w := start(t)
	t.Run("it may do what it needs, and no more", w.testRights)
	t.Run("use and enforcement come back to people", w.testReports)
	t.Run("without a manager", w.testWithoutManager)
	t.Run("without an API server", w.testWithoutAPIServer)
}

func start(t *testing.T) *suite {
	t.Helper()
	plane := controlplanetest.Start(t, controlplane.Options{})
	w := &suite{plane: plane, admin: controlplanetest.Connect(t, plane.Config())}
	var err error
	w.verifiers, err = controlplanetest.NewVerifiers(t.Context(), plane)
	must(t, err)
	// Two verifiers: use is merged, and both have to refuse.
	w.verifier = w.verifiers.Start(t, controlplane.VerifierOptions{})
	w.manager, err = controlplanetest.StartManager(t.Context(), plane, controlplane.ManagerOptions{Flags: []string{
		"--verifier-service=" + plane.Namespace() + "/" + service, "--verifier-token-file=" + w.managerTokenFile(t),
	}})
	must(t, err)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// issue declares a key, waits until the manager has issued it, and returns it with its material.
func (w *suite) issue(t *testing.T, name string, spec v1alpha1.APIKeySpec) (*v1alpha1.APIKey, string) {
	t.Helper()
	k := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec}
	must(t, w.admin.Create(t.Context(), k))
	controlplanetest.Eventually(t, "APIKey "+name+" is issued", func() error {
		if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k); err != nil {
			return err
		}
		return differs(string(k.Status.State), string(v1alpha1.StateActive))
	})
	secret := &corev1.Secret{}
	must(t, w.admin.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: keys.SecretName(k)}, secret))
	return k, string(secret.Data[keys.EntryCurrent])
}

// change changes a key as kubectl patch does.
func (w *suite) change(t *testing.T, k *v1alpha1.APIKey, change func(*v1alpha1.APIKeySpec)) {
	t.Helper()
	after := &v1alpha1.APIKey{}
	must(t, w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), after))
	before := after.DeepCopy()
	change(&after.Spec)
	must(t, w.admin.Patch(t.Context(), after, client.MergeFrom(before)))
}

// expectVerdict wants a verdict at once.
func expectVerdict(t *testing.T, v *controlplane.Verifier, material, want string) {
	t.Helper()
	got, err := controlplanetest.Verdict(t.Context(), v, material)
	must(t, err)
	if got != want {
		t.Errorf("the verifier says %s, want %s", got, want)
	}
}

// awaitVerdict waits for a verdict.
func awaitVerdict(t *testing.T, v *controlplane.Verifier, material, want string) {
	t.Helper()
	controlplanetest.Eventually(t, "the verifier says "+want, func() error {
		got, err := controlplanetest.Verdict(t.Context(), v, material)
		return errors.Join(err, differs(got, want))
	})
}

func differs(got, want string) error {
	if got != want {
		return fmt.Errorf("it is %q, want %q", got, want)
	}
	return nil
}
