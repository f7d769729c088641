// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package gateways_test runs real gateways, configured with the samples of config/samples/gateways, in front of the verifier,
// with keys that the manager issued on a real API server. It checks which requests reach the application, how the application
// receives them, and which responses clients get.
package gateways_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// suite holds what all gateways share: a control plane, a manager, keys in every state, and verifiers.
type suite struct {
	plane     *controlplane.ControlPlane
	admin     client.Client
	verifiers *controlplanetest.Verifiers
	keys      map[string]issued
	// installEnvoyGatewayCRDs creates the CRDs of Envoy Gateway at its first call, and always returns the result of that.
	installEnvoyGatewayCRDs func() error
}

// issued is an issued key.
type issued struct {
	material, id, uid, name string
}

var shared = controlplanetest.Shared[*suite]{New: newSuite}

func TestMain(m *testing.M) {
	const parallel = 8
	shared.Main(m, parallel)
}

func newSuite(ctx context.Context) (w *suite, err error) {
	w = &suite{keys: map[string]issued{}}
	w.installEnvoyGatewayCRDs = sync.OnceValue(w.createEnvoyGatewayCRDs)
	if w.plane, err = controlplane.Start(ctx, controlplane.Options{}); err != nil {
		return w, err
	}
	if w.admin, err = controlplanetest.NewClient(w.plane.Config()); err != nil {
		return w, err
	}
	if w.verifiers, err = controlplanetest.NewVerifiers(ctx, w.plane); err != nil {
		return w, err
	}
	if _, err = controlplanetest.StartManager(ctx, w.plane, controlplane.ManagerOptions{}); err != nil {
		return w, err
	}
	return w, w.createKeys(ctx)
}

// Stop stops the control plane.
func (w *suite) Stop() error {
	if w.plane == nil {
		return nil
	}
	return w.plane.Stop()
}

const (
	// externalID is the external ID of account acme.
	externalID = "7f9c24e8-3b0a-4d56-9a41-58d2c1f0b6e3"
	// allowedAddress is the only address in the whitelist of key near.
	allowedAddress = "127.0.0.3"
)

// createKeys creates the keys and brings them into their states.
func (w *suite) createKeys(ctx context.Context) error {
	accounts := map[string]v1alpha1.AccountSpec{"acme": {ExternalID: externalID, Plan: "pro"}, "bare": {}}
	for name, spec := range accounts {
		if err := w.admin.Create(ctx, &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}); err != nil {
			return err
		}
	}
	specs := map[string]v1alpha1.APIKeySpec{
		"full":     {Account: "acme", Scopes: []string{"orders:read"}, Metadata: map[string]v1alpha1.MetadataValue{"team": "Almacén 7"}},
		"near":     {Account: "acme", IPWhitelist: []string{allowedAddress}},
		"uuid":     {Account: "acme", Format: &v1alpha1.Format{Type: v1alpha1.FormatUUID}},
		"plain":    {Account: "bare"},
		"wide":     {Account: "bare", Scopes: manyScopes()},
		"inactive": {Account: "bare"},
		"expired":  {Account: "bare"},
		"revoked":  {Account: "bare"},
	}
	for name, spec := range specs {
		spec.Label = name
		if err := w.issue(ctx, &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec}); err != nil {
			return err
		}
	}
	return errors.Join(
		w.become(ctx, "inactive", v1alpha1.StateInactive, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive }),
		w.become(ctx, "revoked", v1alpha1.StateRevoked, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateRevoked }),
		// The start of today is in the past.
		w.become(ctx, "expired", v1alpha1.StateExpired, func(s *v1alpha1.APIKeySpec) { s.Expiration = time.Now().UTC().Format(time.DateOnly) }),
	)
}

// manyScopes returns the maximum number of scopes, each of the maximum length.
func manyScopes() []string {
	const most, longest = 64, 128
	scopes := make([]string, most)
	for i := range scopes {
		scopes[i] = fmt.Sprintf("scope:%0*d", longest-len("scope:"), i)
	}
	return scopes
}

func (w *suite) issue(ctx context.Context, k *v1alpha1.APIKey) error {
	if err := controlplanetest.Create(ctx, w.admin, k); err != nil {
		return err
	}
	if err := controlplanetest.Become(ctx, w.admin, v1alpha1.StateActive, k); err != nil {
		return err
	}
	secret, err := controlplanetest.SecretOf(ctx, w.admin, k)
	if err != nil {
		return err
	}
	w.keys[k.Name] = issued{material: string(secret.Data[keys.EntryCurrent]), id: k.Status.KeyID, uid: string(k.UID), name: k.Namespace + "/" + k.Name}
	return nil
}

// become changes a key, and waits until it is in a state.
func (w *suite) become(ctx context.Context, name string, want v1alpha1.ObservedState, change func(*v1alpha1.APIKeySpec)) error {
	k := controlplanetest.NewKey("default", name, "")
	if err := controlplanetest.Change(ctx, w.admin, k, change); err != nil {
		return err
	}
	return controlplanetest.Become(ctx, w.admin, want, k)
}
