// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// suite holds what all tests share: a control plane, a manager with webhooks and a verifier.
type suite struct {
	controlplanetest.Objects

	plane     *controlplane.ControlPlane
	admin     client.Client
	verifiers *controlplanetest.Verifiers
	polled    polled
}

var shared = controlplanetest.Shared[*suite]{New: newSuite}

func TestMain(m *testing.M) {
	const parallel = 8
	shared.Main(m, parallel)
}

func newSuite(ctx context.Context) (s *suite, err error) {
	s = &suite{}
	port, err := controlplane.FreePort()
	if err != nil {
		return s, err
	}
	if s.plane, err = controlplane.Start(ctx, controlplane.Options{WebhookPort: port}); err != nil {
		return s, err
	}
	if s.admin, err = controlplanetest.NewClient(s.plane.Config()); err != nil {
		return s, err
	}
	s.Objects = controlplanetest.NewObjects(s.admin)
	if s.verifiers, err = controlplanetest.NewVerifiers(ctx, s.plane); err != nil {
		return s, err
	}
	polling, err := s.pollFlags(ctx)
	if err != nil {
		return s, err
	}
	options := controlplane.ManagerOptions{WebhookPort: port, Flags: append(polling, "--leader-elect=true")}
	if _, err := controlplanetest.StartManager(ctx, s.plane, options); err != nil {
		return s, err
	}
	return s, controlplanetest.AwaitWebhooks(ctx, s.admin, true)
}

// Stop stops the control plane.
func (s *suite) Stop() error {
	if s.plane == nil {
		return nil
	}
	return s.plane.Stop()
}
