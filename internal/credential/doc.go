// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package credential holds the formats of API keys: how a key is generated, parsed, digested and redacted.
//
// It imports only the API types and the standard library. Random bytes come from an io.Reader that the caller passes in.
package credential
