// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package verifier_test proves what the verifier's own binary promises together with a real API server and the manager's
// own binary: what holds while either is away, how use and enforcement come back to people, and that it has no right to
// more than it needs.
package verifier_test

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// suite is a control plane with a manager and a verifier.
type suite struct {
	controlplanetest.Objects

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
	admin := controlplanetest.Connect(t, plane.Config())
	w := &suite{Objects: controlplanetest.NewObjects(admin), plane: plane, admin: admin}
	var err error
	w.verifiers, err = controlplanetest.NewVerifiers(t.Context(), plane)
	controlplanetest.Must(t, err)
	// Two verifiers: use is merged, and both have to refuse.
	w.verifier = w.verifiers.Start(t, controlplane.VerifierOptions{})
	w.manager, err = controlplanetest.StartManager(t.Context(), plane, controlplane.ManagerOptions{Flags: controlplanetest.VerifierFlags(t, plane, admin)})
	controlplanetest.Must(t, err)
	return w
}

// issue creates a key, waits until it is Active, and returns it with its material.
func (w *suite) issue(t *testing.T, name string, spec v1alpha1.APIKeySpec) (*v1alpha1.APIKey, string) {
	t.Helper()
	k := controlplanetest.NewKey("default", name, spec.Account, func(s *v1alpha1.APIKeySpec) { *s = spec })
	w.Issue(t, k)
	return k, w.Material(t, k)
}
