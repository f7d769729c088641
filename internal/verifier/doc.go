// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package verifier decides whether the API key in a request is valid. It keeps the digests of all keys in memory,
// follows changes through watches of the API server, and uses its own clock. A restriction in a spec (disabled,
// revoked, expired, limited to addresses) and an expiration therefore take effect while the manager or the API server
// is down. A relaxation in a spec takes effect once the manager has accepted it in the status. The package never reads
// Secrets, and sees a key only in the request that it checks.
//
// KeyExtractor extracts the candidate keys of a request, ClientIPResolver determines the client's address, Index holds
// the keys, Index.Check returns the Verdict, and Syncer keeps the Index up to date. The package
// internal/verifier/server serves verdicts over gRPC and HTTP.
package verifier
