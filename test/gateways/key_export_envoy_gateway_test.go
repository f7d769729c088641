// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"testing"
)

// TestKeyExport_EnvoyGateway runs Envoy Gateway with a SecurityPolicy that has the keys of a KeyExport.
func TestKeyExport_EnvoyGateway(t *testing.T) {
	t.Parallel()
	e := startExport(t, shared.Get(t), &exportEnvoyGateway, "envoy-gateway")
	e.testEnforcement(t)
	e.expectPolicyAccepted(t, "api-keys")
}
