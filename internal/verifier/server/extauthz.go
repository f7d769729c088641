// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// extAuthz is the face for Envoy: ext_authz v3 over gRPC.
type extAuthz struct {
	authv3.UnimplementedAuthorizationServer

	authorizer *Authorizer
	responses  *extAuthzResponses
}

// ExtAuthz is the face for Envoy. Metadata of the call itself is Envoy's own, and is never read. All but the status of an
// answer may be there in encoded form only.
func (a *Authorizer) ExtAuthz() authv3.AuthorizationServer {
	return &extAuthz{authorizer: a, responses: newExtAuthzResponses(a)}
}

// Check implements authv3.AuthorizationServer.
func (s *extAuthz) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	attributes := r.GetAttributes()
	httpRequest := attributes.GetRequest().GetHttp()
	envoy := &envoyRequest{headers: httpRequest.GetHeaders(), raw: httpRequest.GetHeaderMap().GetHeaders(), path: httpRequest.GetPath()}
	requirements := s.authorizer.routeRequirements(attributes.GetContextExtensions())
	if detail := requirements.unknownProblem(); detail != "" {
		return s.misconfigured(&requirements, detail), nil
	}
	req := &request{
		protocol: ExtAuthz, request: envoy, requirements: requirements,
		peer:            verifier.ParseClient(attributes.GetSource().GetAddress().GetSocketAddress().GetAddress()),
		confirmedMethod: httpRequest.GetMethod(), method: httpRequest.GetMethod(), host: httpRequest.GetHost(), path: pathOf(httpRequest.GetPath()),
	}
	verdict, places := s.authorizer.check(req)
	if !verdict.Code.Passes() {
		return s.responses.denied(&verdict, req.wantsCORS()), nil
	}
	return s.responses.allowed(&verdict, envoy, places), nil
}

// routeRequirements reads what a route requires from its context extensions, but for those of others
// (--ignore-extensions). An unknown one may be a misspelt requirement, and must not let everybody in.
func (a *Authorizer) routeRequirements(extensions map[string]string) Requirements {
	r := parseRequirements(maps.All(extensions))
	r.unknown = slices.DeleteFunc(r.unknown, func(name string) bool { return slices.Contains(a.IgnoreExtensions, name) })
	return r
}

// misconfigured refuses a request whose route says what it requires in a way that can't be understood. The log names the
// extensions, which are the operator's; the answer, which reaches the client, does not.
func (s *extAuthz) misconfigured(r *Requirements, detail string) *authv3.CheckResponse {
	slices.Sort(r.unknown)
	s.authorizer.Logger.Info("Refused a request: correct the route's context_extensions, or name those of others in --ignore-extensions",
		"face", ExtAuthz.String(), "unknown", r.unknown)
	body := problem{Type: blank, Title: http.StatusText(http.StatusForbidden), Status: http.StatusForbidden, Detail: detail}.body()
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied), Message: detail},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden}, Headers: denialHeaders(&denial{}), Body: string(body),
		}},
	}
}

// envoyRequest is a request that Envoy asks about.
type envoyRequest struct {
	// headers are joined by commas if they were sent twice.
	headers map[string]string
	// raw are the headers one by one, in place of the others if Envoy was told to send them so (encode_raw_headers).
	raw []*corev3.HeaderValue
	// path has the query.
	path string
	// one is where a single value is put.
	one [1]string
}

// Header implements verifier.Request. What it returns is good until it is called again.
func (e *envoyRequest) Header(_, lower string) []string {
	values := e.one[:0]
	if value, sent := e.headers[lower]; sent {
		values = append(values, value)
	}
	for _, h := range e.raw {
		if strings.EqualFold(h.GetKey(), lower) {
			values = append(values, headerValue(h))
		}
	}
	return values
}

func headerValue(h *corev3.HeaderValue) string {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return h.GetValue()
}

// Queries implements verifier.Request.
func (e *envoyRequest) Queries() []string {
	if q := query(e.path); q != "" {
		return []string{q}
	}
	return nil
}
