// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package envoygateway pins the Envoy Gateway that test/gateways runs with a real Envoy.
package envoygateway

import _ "github.com/envoyproxy/gateway/cmd/envoy-gateway"
