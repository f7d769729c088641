// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"net/http"

	"google.golang.org/grpc/codes"
)

// Code is what a verdict says. Its names are part of the API.
type Code uint8

// The codes, in the order in which they are looked for.
const (
	// NotSynced: the index is not complete yet, so nobody is let in.
	NotSynced Code = iota
	// Missing: the request has no key.
	Missing
	// Ambiguous: the request has two keys, or a header that was joined from two.
	Ambiguous
	// Unknown: no such key. Whoever asks has proved nothing, so nothing more is said.
	Unknown
	// Revoked: the key, or this credential of it, was ended for good.
	Revoked
	// Inactive: the key is switched off, or its account does not accept it.
	Inactive
	// AccountSuspended: no key of the account may be used.
	AccountSuspended
	// Expired: the key has expired, or the overlap of its previous credential is over.
	Expired
	// IPNotAllowed: the key may not be used from the client's address.
	IPNotAllowed
	// ScopeMissing: the key lacks a scope that the route requires.
	ScopeMissing
	// AccountMismatch: the key is not of the account that the route or the request names.
	AccountMismatch
	// Valid: the key is good.
	Valid
	// Preflight: the request is a CORS preflight on a route that lets those pass without a key.
	Preflight

	codeCount
)

// codeInfo is how a code is told over HTTP and gRPC.
type codeInfo struct {
	name  string
	title string
	http  int
	grpc  codes.Code
}

var codeInfos = [codeCount]codeInfo{
	NotSynced:        {"NOT_SYNCED", "The verifier does not know the keys yet", http.StatusServiceUnavailable, codes.Unavailable},
	Missing:          {"MISSING", "The request has no API key", http.StatusUnauthorized, codes.Unauthenticated},
	Ambiguous:        {"AMBIGUOUS", "The request has more than one API key", http.StatusUnauthorized, codes.Unauthenticated},
	Unknown:          {"UNKNOWN", "The API key is not known", http.StatusUnauthorized, codes.Unauthenticated},
	Revoked:          {"REVOKED", "The API key was revoked", http.StatusUnauthorized, codes.Unauthenticated},
	Inactive:         {"INACTIVE", "The API key is not active", http.StatusUnauthorized, codes.Unauthenticated},
	AccountSuspended: {"ACCOUNT_SUSPENDED", "The account of the API key is suspended", http.StatusUnauthorized, codes.Unauthenticated},
	Expired:          {"EXPIRED", "The API key has expired", http.StatusUnauthorized, codes.Unauthenticated},
	IPNotAllowed:     {"IP_NOT_ALLOWED", "The API key may not be used from this address", http.StatusForbidden, codes.PermissionDenied},
	ScopeMissing:     {"SCOPE_MISSING", "The API key lacks a scope that is required here", http.StatusForbidden, codes.PermissionDenied},
	AccountMismatch:  {"ACCOUNT_MISMATCH", "The API key belongs to another account", http.StatusForbidden, codes.PermissionDenied},
	Valid:            {"VALID", "The API key is good", http.StatusOK, codes.OK},
	Preflight:        {"PREFLIGHT", "The request is a CORS preflight, which needs no API key", http.StatusOK, codes.OK},
}

// Codes are all codes, in the order in which they are looked for.
func Codes() []Code {
	list := make([]Code, codeCount)
	for i := range list {
		list[i] = Code(i)
	}
	return list
}

// String is the code's name, such as IP_NOT_ALLOWED.
func (c Code) String() string { return codeInfos[c].name }

// Title is one sentence for the person who reads an answer.
func (c Code) Title() string { return codeInfos[c].title }

// HTTP is the status of an HTTP answer (RFC 9110).
func (c Code) HTTP() int { return codeInfos[c].http }

// GRPC is the status of a gRPC answer.
func (c Code) GRPC() codes.Code { return codeInfos[c].grpc }

// Matched is whether a known key was presented whole, so that its holder may be told what is the matter with it.
func (c Code) Matched() bool { return c > Unknown && c <= Valid }

// Passes reports whether the request is let in.
func (c Code) Passes() bool { return c == Valid || c == Preflight }
