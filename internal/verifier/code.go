// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"net/http"

	"google.golang.org/grpc/codes"
)

// Code identifies the result of a verdict. The names of the codes are part of the API.
type Code uint8

// The codes, in the order in which they are checked.
const (
	// NotSynced: the index is not complete, so all requests are refused.
	NotSynced Code = iota
	// Missing: the request has no key.
	Missing
	// Ambiguous: the request has two keys, or a header that was joined from two headers.
	Ambiguous
	// Unknown: no such key exists. The client has not proved that it holds a key, so the response gives no details.
	Unknown
	// TooManyFailures: no such key exists, and the client has sent too many unknown keys.
	TooManyFailures
	// Revoked: the key or this credential of it was revoked.
	Revoked
	// Inactive: the key is disabled, or its account does not allow it.
	Inactive
	// AccountSuspended: the account is suspended, and so are all its keys.
	AccountSuspended
	// Expired: the key has expired, or the overlap period of its previous credential has ended.
	Expired
	// IPNotAllowed: the whitelist of the key does not contain the address of the client.
	IPNotAllowed
	// ScopeMissing: the key lacks a scope that the route requires.
	ScopeMissing
	// AccountMismatch: the key does not belong to the account that the route or the request names.
	AccountMismatch
	// Valid: the key passes all checks.
	Valid
	// Preflight: the request is a CORS preflight on a route that allows preflights without a key.
	Preflight

	codeCount
)

// codeInfo holds how a code is represented over HTTP and gRPC.
type codeInfo struct {
	name  string
	title string
	http  int
	grpc  codes.Code
}

var codeInfos = [codeCount]codeInfo{
	NotSynced:        {"NOT_SYNCED", "The verifier has not synced the API keys yet", http.StatusServiceUnavailable, codes.Unavailable},
	Missing:          {"MISSING", "The request has no API key", http.StatusUnauthorized, codes.Unauthenticated},
	Ambiguous:        {"AMBIGUOUS", "The request has more than one API key", http.StatusUnauthorized, codes.Unauthenticated},
	Unknown:          {"UNKNOWN", "The API key is unknown", http.StatusUnauthorized, codes.Unauthenticated},
	TooManyFailures:  {"TOO_MANY_FAILURES", "This address has sent too many unknown API keys", http.StatusTooManyRequests, codes.Unavailable},
	Revoked:          {"REVOKED", "The API key was revoked", http.StatusUnauthorized, codes.Unauthenticated},
	Inactive:         {"INACTIVE", "The API key is not active", http.StatusUnauthorized, codes.Unauthenticated},
	AccountSuspended: {"ACCOUNT_SUSPENDED", "The account of the API key is suspended", http.StatusUnauthorized, codes.Unauthenticated},
	Expired:          {"EXPIRED", "The API key has expired", http.StatusUnauthorized, codes.Unauthenticated},
	IPNotAllowed:     {"IP_NOT_ALLOWED", "The API key may not be used from this address", http.StatusForbidden, codes.PermissionDenied},
	ScopeMissing:     {"SCOPE_MISSING", "The API key lacks a scope that is required here", http.StatusForbidden, codes.PermissionDenied},
	AccountMismatch:  {"ACCOUNT_MISMATCH", "The API key belongs to another account", http.StatusForbidden, codes.PermissionDenied},
	Valid:            {"VALID", "The API key is valid", http.StatusOK, codes.OK},
	Preflight:        {"PREFLIGHT", "The request is a CORS preflight, which needs no API key", http.StatusOK, codes.OK},
}

// Codes returns all codes, in the order in which they are checked.
func Codes() []Code {
	list := make([]Code, codeCount)
	for i := range list {
		list[i] = Code(i)
	}
	return list
}

// String returns the name of the code, such as IP_NOT_ALLOWED.
func (c Code) String() string { return codeInfos[c].name }

// Title returns a sentence that describes the code to the reader of a response.
func (c Code) Title() string { return codeInfos[c].title }

// HTTP returns the status code of an HTTP response (RFC 9110).
func (c Code) HTTP() int { return codeInfos[c].http }

// GRPC returns the status code of a gRPC response.
func (c Code) GRPC() codes.Code { return codeInfos[c].grpc }

// Matched reports whether the request presented a complete, known key, so that the response may describe it.
func (c Code) Matched() bool { return c >= Revoked && c <= Valid }

// Passes reports whether the request is allowed.
func (c Code) Passes() bool { return c == Valid || c == Preflight }
