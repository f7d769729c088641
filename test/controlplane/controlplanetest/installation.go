// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// Installation is a control plane with a manager whose webhooks the API server calls. It is what the tests of a package share.
type Installation struct {
	Objects

	Plane *controlplane.ControlPlane
	// Admin is the client of an administrator.
	Admin client.WithWatch

	webhookPort int
}

// NewInstallation starts the control plane. The caller starts the manager, and stops the returned installation also after an error.
func NewInstallation(ctx context.Context) (*Installation, error) {
	i := &Installation{}
	var err error
	if i.webhookPort, err = controlplane.FreePort(); err != nil {
		return i, err
	}
	if i.Plane, err = controlplane.Start(ctx, controlplane.Options{WebhookPort: i.webhookPort}); err != nil {
		return i, err
	}
	if i.Admin, err = NewClient(i.Plane.Config()); err != nil {
		return i, err
	}
	i.Objects = NewObjects(i.Admin)
	return i, nil
}

// StartManager builds the manager, starts it with flags, and waits until the API server calls its webhooks.
func (i *Installation) StartManager(ctx context.Context, flags ...string) error {
	_, err := StartManager(ctx, i.Plane, controlplane.ManagerOptions{WebhookPort: i.webhookPort, Flags: flags})
	if err != nil {
		return err
	}
	return AwaitWebhooks(ctx, i.Admin, true)
}

// Stop stops the control plane.
func (i *Installation) Stop() error {
	if i.Plane == nil {
		return nil
	}
	return i.Plane.Stop()
}
