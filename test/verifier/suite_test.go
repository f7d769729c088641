// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package verifier_test tests the binaries of the verifier and the manager with a real API server: the permissions of the
// verifier, usage reports, and the verdicts while the manager or the API server is down.
package verifier_test

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// suite holds a control plane with a manager and verifiers.
type suite struct {
	controlplanetest.Objects

	plane     *controlplane.ControlPlane
	admin     client.Client
	manager   *controlplane.Manager
	verifiers *controlplanetest.Verifiers
	verifier  *controlplane.Verifier // the first
}

// TestVerifier runs its parts in order: each stops something that the following ones do not need.
func TestVerifier(t *testing.T) {
	w := start(t)
	t.Run("the ServiceAccount has only the needed permissions", w.testRights)
	t.Run("usage reports update lastUsedTime and Enforced", w.testReports)
	t.Run("verdicts without a manager", w.testWithoutManager)
	t.Run("verdicts without an API server", w.testWithoutAPIServer)
}

func start(t *testing.T) *suite {
	t.Helper()
	plane := controlplanetest.Start(t, controlplane.Options{})
	admin := controlplanetest.Connect(t, plane.Config())
	w := &suite{Objects: controlplanetest.NewObjects(admin), plane: plane, admin: admin}
	var err error
	w.verifiers, err = controlplanetest.NewVerifiers(t.Context(), plane)
	controlplanetest.Must(t, err)
	// With several verifiers, usage is merged, and a disabled key counts as enforced only if all of them reject it.
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
