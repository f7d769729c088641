// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// suite holds what all tests share: an installation whose manager polls a verifier.
type suite struct {
	*controlplanetest.Installation

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
	if s.Installation, err = controlplanetest.NewInstallation(ctx); err != nil {
		return s, err
	}
	if s.verifiers, err = controlplanetest.NewVerifiers(ctx, s.Plane); err != nil {
		return s, err
	}
	polling, err := s.pollFlags(ctx)
	if err != nil {
		return s, err
	}
	return s, s.StartManager(ctx, append(polling, "--leader-elect=true")...)
}
