// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package restore_test restores etcd from a backup while a manager and two verifiers run. It checks that a key that is
// disabled afterwards is rejected, that condition Enforced is True only then, and that limits are kept.
package restore_test

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// suite holds a control plane with a manager and two verifiers.
type suite struct {
	controlplanetest.Objects

	plane     *controlplane.ControlPlane
	admin     client.Client
	options   controlplane.ManagerOptions
	manager   *controlplane.Manager
	verifiers []*controlplane.Verifier
}

func start(t *testing.T) *suite {
	t.Helper()
	plane := controlplanetest.Start(t, controlplane.Options{})
	admin := controlplanetest.Connect(t, plane.Config())
	s := &suite{Objects: controlplanetest.NewObjects(admin), plane: plane, admin: admin}
	verifiers, err := controlplanetest.NewVerifiers(t.Context(), plane)
	controlplanetest.Must(t, err)
	for range 2 {
		s.verifiers = append(s.verifiers, verifiers.StartReplica(t, admin))
	}
	s.options.Binary, err = controlplane.BuildManager(t.Context())
	controlplanetest.Must(t, err)
	s.options.Flags = controlplanetest.VerifierFlags(t, plane, admin)
	s.startManager(t)
	return s
}

func (s *suite) startManager(t *testing.T) {
	t.Helper()
	var err error
	s.manager, err = s.plane.StartManager(t.Context(), s.options)
	controlplanetest.Must(t, err)
}

// verdicts returns the verdicts of all verifiers on a key.
func (s *suite) verdicts(t *testing.T, material string) []string {
	t.Helper()
	var list []string
	for _, v := range s.verifiers {
		got, err := controlplanetest.Verdict(t.Context(), v, material)
		controlplanetest.Must(t, err)
		list = append(list, got)
	}
	return list
}

// newKey returns a key of an account in namespace default, with its name as the label.
func newKey(account, name string) *v1alpha1.APIKey {
	return controlplanetest.NewKey("default", name, account, func(s *v1alpha1.APIKeySpec) { s.Label = name })
}

// issue creates a key, waits until it is Active and every verifier accepts it, and returns it with its material.
func (s *suite) issue(t *testing.T, account, name string) (*v1alpha1.APIKey, string) {
	t.Helper()
	k := newKey(account, name)
	s.Issue(t, k)
	material := s.Material(t, k)
	s.awaitVerdict(t, material, "VALID")
	return k, material
}

// awaitVerdict waits until every verifier returns a verdict on a key.
func (s *suite) awaitVerdict(t *testing.T, material, want string) {
	t.Helper()
	for _, v := range s.verifiers {
		controlplanetest.AwaitVerdict(t, v, material, want)
	}
}
