// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
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

// Verdict returns the code with which a verifier answers POST /v1/verify about a key.
func Verdict(ctx context.Context, v *controlplane.Verifier, material string) (string, error) {
	question, err := json.Marshal(map[string]string{"key": material})
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+v.HTTP+"/v1/verify", bytes.NewReader(question))
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Code string `json:"code"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("POST /v1/verify: status %d, %w", response.StatusCode, err)
	}
	return answer.Code, nil
}

// ReachableAddress returns an address of this machine that EndpointSlices may name: any but a loopback one. A machine
// without one skips the test.
func ReachableAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() && !prefix.Addr().IsLoopback() && !prefix.Addr().IsLinkLocalUnicast() {
			return prefix.Addr().String()
		}
	}
	t.Skip("SKIPPED: this machine has no address but loopback ones, which no EndpointSlice may name")
	return ""
}
