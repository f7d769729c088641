// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/mem"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// extAuthz implements the ext_authz v3 protocol of Envoy over gRPC. It ignores the metadata of the gRPC call, which
// describes Envoy and not the client.
type extAuthz struct {
	authorizer *Authorizer
	responses  *extAuthzResponses
	// requests holds instances of checkRequest whose memory is reused.
	requests sync.Pool
}

func newExtAuthz(a *Authorizer) *extAuthz {
	names := a.headersOfCheck()
	return &extAuthz{
		authorizer: a, responses: newExtAuthzResponses(a), requests: sync.Pool{New: func() any { return newCheckRequest(names) }},
	}
}

// headersOfCheck returns the lower-case names of all headers that a check may read.
func (a *Authorizer) headersOfCheck() []string {
	names := []string{"cookie", "origin", "access-control-request-method", a.AddressHeader.LowerName()}
	if a.AccountHeader.kind != verifier.ClaimNone {
		names = append(names, a.AccountHeader.lower)
	}
	for _, p := range a.places {
		if p.Header != "" {
			names = append(names, p.Header)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// check returns the encoded response to a request.
func (s *extAuthz) check(r *checkRequest) mem.Buffer {
	requirements := s.authorizer.routeRequirements(r.extensions)
	if len(requirements.unknown) > 0 {
		s.logMisconfigured(&requirements)
		return s.responses.misconfigured
	}
	req := &request{
		protocol: ExtAuthz, request: r, requirements: requirements, peer: verifier.ParseClient(r.text[rolePeer]),
		confirmedMethod: r.text[roleMethod], method: r.text[roleMethod], host: r.text[roleHost], path: pathOf(r.text[rolePath]),
	}
	verdict, places := s.authorizer.check(req)
	if !verdict.Code.Passes() {
		return s.responses.forDenied(&verdict, req.wantsCORS())
	}
	return s.responses.forAllowed(&verdict, r, places)
}

// routeRequirements parses the requirements of a route from its context extensions, except those in
// --ignore-extensions. An unknown extension may be a misspelt requirement, and is recorded so that the request is
// refused.
func (a *Authorizer) routeRequirements(extensions map[string]string) (r Requirements) {
	for name, value := range extensions {
		r.add(name, value)
	}
	r.unknown = slices.DeleteFunc(r.unknown, func(name string) bool { return slices.Contains(a.IgnoreExtensions, name) })
	return r
}

// The maximum number of unknown extensions in a log line, and the maximum length of the name of each.
const (
	maxUnknownNames      = 16
	maxUnknownNameLength = 64
)

// logMisconfigured logs that a request was refused because its route has unknown requirements. The log names the extensions,
// which the operator chose. It is limited, because others that reach the server may send any number of them.
func (s *extAuthz) logMisconfigured(r *Requirements) {
	slices.Sort(r.unknown)
	names := make([]string, 0, maxUnknownNames)
	for _, name := range r.unknown[:min(len(r.unknown), maxUnknownNames)] {
		names = append(names, strings.ToValidUTF8(name[:min(len(name), maxUnknownNameLength)], "\uFFFD"))
	}
	s.authorizer.Logger.Info("Refused a request with unknown context_extensions: correct the route, "+
		"or add the extensions of other services to --ignore-extensions",
		"protocol", ExtAuthz.String(), "unknown", names, "count", len(r.unknown))
}
