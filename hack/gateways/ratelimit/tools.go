// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package ratelimit pins the rate limit service that test/gateways puts behind Envoy.
package ratelimit

import _ "github.com/envoyproxy/ratelimit/src/service_cmd"
