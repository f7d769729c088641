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

// extAuthz implements the ext_authz v3 protocol of Envoy over gRPC.
type extAuthz struct {
	authv3.UnimplementedAuthorizationServer

	authorizer *Authorizer
	responses  *extAuthzResponses
}

// ExtAuthz returns the service for Envoy. It ignores the metadata of the gRPC call, which describes Envoy and not the
// client. All fields of a response except the status may be present in encoded form only.
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
		return s.refuseMisconfigured(&requirements, detail), nil
	}
	req := &request{
		protocol: ExtAuthz, request: envoy, requirements: requirements,
		peer:            verifier.ParseClient(attributes.GetSource().GetAddress().GetSocketAddress().GetAddress()),
		confirmedMethod: httpRequest.GetMethod(), method: httpRequest.GetMethod(), host: httpRequest.GetHost(),
		path: pathOf(httpRequest.GetPath()),
	}
	verdict, places := s.authorizer.check(req)
	if !verdict.Code.Passes() {
		return s.responses.forDenied(&verdict, req.wantsCORS()), nil
	}
	return s.responses.forAllowed(&verdict, envoy, places), nil
}

// routeRequirements parses the requirements of a route from its context extensions, except those in
// --ignore-extensions. An unknown extension may be a misspelt requirement, and is recorded so that the request is
// refused.
func (a *Authorizer) routeRequirements(extensions map[string]string) Requirements {
	r := parseRequirements(maps.All(extensions))
	r.unknown = slices.DeleteFunc(r.unknown, func(name string) bool { return slices.Contains(a.IgnoreExtensions, name) })
	return r
}

// refuseMisconfigured refuses a request whose route has invalid requirements. The log names the extensions, which the
// operator chose. The response, which reaches the client, does not.
func (s *extAuthz) refuseMisconfigured(r *Requirements, detail string) *authv3.CheckResponse {
	slices.Sort(r.unknown)
	s.authorizer.Logger.Info("Refused a request with unknown context_extensions: correct the route, "+
		"or add the extensions of other services to --ignore-extensions",
		"protocol", ExtAuthz.String(), "unknown", r.unknown)
	body := problem{Type: blank, Title: http.StatusText(http.StatusForbidden), Status: http.StatusForbidden, Detail: detail}.body()
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied), Message: detail},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden}, Headers: denialHeaders(&denial{}), Body: string(body),
		}},
	}
}

// envoyRequest adapts a CheckRequest to verifier.Request.
type envoyRequest struct {
	// headers holds the headers by lower-case name. Repeated headers are joined by commas.
	headers map[string]string
	// raw holds the headers one by one. Envoy sends it instead of headers if encode_raw_headers is set.
	raw []*corev3.HeaderValue
	// path includes the query.
	path string
	// one is the backing array of a single value, which saves an allocation.
	one [1]string
}

// Header implements verifier.Request. The result is valid until the next call.
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
	if q := queryOf(e.path); q != "" {
		return []string{q}
	}
	return nil
}
