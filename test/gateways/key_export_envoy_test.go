// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"net/http"
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// TestKeyExport_Envoy runs Envoy with its filter api_key_auth, which has the keys of a KeyExport.
func TestKeyExport_Envoy(t *testing.T) {
	t.Parallel()
	e := startExport(t, shared.Get(t), &exportEnvoy, "envoy")
	e.testEnforcement(t)
}

// TestKeyExport_EnvoyManagerRestart changes keys while no manager runs.
func TestKeyExport_EnvoyManagerRestart(t *testing.T) {
	t.Parallel()
	w := &suite{plane: controlplanetest.Start(t, controlplane.Options{})}
	w.admin = controlplanetest.Connect(t, w.plane.Config())
	start := func() *controlplane.Manager {
		m, err := controlplanetest.StartManager(t.Context(), w.plane, controlplane.ManagerOptions{})
		controlplanetest.Must(t, err)
		return m
	}
	manager := start()
	e := startExport(t, w, &exportEnvoy, "envoy")
	inactive, inactiveKey := e.newKey(t, "inactive")
	deleted, deletedKey := e.newKey(t, "deleted")
	_, validKey := e.newKey(t, "valid")
	manager.Kill()
	e.Change(t, inactive, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	controlplanetest.Must(t, e.admin.Delete(t.Context(), deleted))
	start()
	e.f.awaitStatus(t, inactiveKey, http.StatusUnauthorized)
	e.f.awaitStatus(t, deletedKey, http.StatusUnauthorized)
	controlplanetest.Must(t, e.f.expectStatus(t, validKey, http.StatusOK))
	t.Run("without the KeyExport, no key is accepted", func(t *testing.T) {
		controlplanetest.Must(t, e.admin.Delete(t.Context(), e.export))
		e.f.awaitStatus(t, validKey, http.StatusUnauthorized)
	})
}
