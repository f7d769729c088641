// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// Verifiers are those of a control plane, one for each set of flags that tests ask for. They end with it.
type Verifiers struct {
	plane  *controlplane.ControlPlane
	binary string

	mu      sync.Mutex
	running map[string]*controlplane.Verifier
}

// NewVerifiers builds the verifier.
func NewVerifiers(ctx context.Context, plane *controlplane.ControlPlane) (*Verifiers, error) {
	binary, err := controlplane.BuildVerifier(ctx)
	if err != nil {
		return nil, err
	}
	return &Verifiers{plane: plane, binary: binary, running: map[string]*controlplane.Verifier{}}, nil
}

// With is the verifier that runs with these flags, which all tests share.
func (v *Verifiers) With(t *testing.T, flags ...string) *controlplane.Verifier {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	id := strings.Join(flags, " ")
	if v.running[id] == nil {
		v.running[id] = v.Start(t, controlplane.VerifierOptions{Flags: flags})
	}
	return v.running[id]
}

// Start starts another one.
func (v *Verifiers) Start(t *testing.T, o controlplane.VerifierOptions) *controlplane.Verifier {
	t.Helper()
	o.Binary = v.binary
	started, err := v.plane.StartVerifier(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return started
}
