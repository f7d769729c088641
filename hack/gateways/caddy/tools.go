// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package caddy pins the Caddy that test/gateways puts in front of the verifier.
package caddy

import _ "github.com/caddyserver/caddy/v2/cmd/caddy"
