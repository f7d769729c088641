// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package server serves verdicts on API keys over the network: the ext_authz protocol of Envoy over gRPC, forward-auth
// over HTTP for other gateways, and JSON over HTTP for applications. All protocols use one Authorizer and therefore
// return the same verdicts. The package also serves the usage of keys to the manager.
//
// No response, log line or metric contains a key. Log lines name the headers and fields of a request, and redact their
// values.
package server
