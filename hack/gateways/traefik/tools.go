// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package traefik pins the Traefik that test/gateways puts in front of the verifier.
package traefik

import _ "github.com/traefik/traefik/v3/cmd/traefik"
