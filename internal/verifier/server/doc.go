// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package server puts the door on the network: Envoy's ext_authz over gRPC, forward-auth over HTTP for other gateways, and
// JSON for applications that ask themselves. All of them ask one Door, so that they can't differ. What replicas tell the
// manager of the use of keys is here as well.
//
// A key is in no answer, log line or metric: what a request says is handed on by name only.
package server
