// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// Start starts a control plane and stops it at the end of the test. It skips the test if there are no control plane binaries.
func Start(t *testing.T, o controlplane.Options) *controlplane.ControlPlane {
	t.Helper()
	skipShort(t)
	log.SetLogger(logr.Discard())
	plane, err := controlplane.Start(t.Context(), o)
	skipWithout(t, err)
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	return plane
}

func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: nothing was tested on a real API server. Run it without -short; `make controlplane` builds what it needs, once")
	}
}

// skipWithout skips a test if err is ErrNoBinaries, and ends it on any other error.
func skipWithout(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, controlplane.ErrNoBinaries) {
		t.Skipf("SKIPPED: nothing was tested on a real API server: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Connect returns a client like NewClient does, and ends the test on an error.
func Connect(t *testing.T, config *rest.Config) client.WithWatch {
	t.Helper()
	c, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// NewClient returns a client that knows the built-in kinds, CustomResourceDefinitions, APIKeys and Accounts. It has no rate limit
// and does not print warnings.
func NewClient(config *rest.Config) (client.WithWatch, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("register kinds: %w", err)
	}
	config = rest.CopyConfig(config)
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}

// StartManager builds the manager and starts it.
func StartManager(
	ctx context.Context,
	plane *controlplane.ControlPlane,
	o controlplane.ManagerOptions,
) (m *controlplane.Manager, err error) {
	if o.Binary, err = controlplane.BuildManager(ctx); err != nil {
		return nil, err
	}
	return plane.StartManager(ctx, o)
}

// Kubectl returns the path of kubectl. It skips the test if there are no control plane binaries.
func Kubectl(t *testing.T) string {
	t.Helper()
	path, err := controlplane.KubectlPath()
	skipWithout(t, err)
	return path
}
