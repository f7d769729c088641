// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package faces

import (
	"context"
	"maps"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// extAuthz is the face for Envoy: ext_authz v3 over gRPC.
type extAuthz struct {
	authv3.UnimplementedAuthorizationServer

	door    *Door
	answers *envoyAnswers
}

// ExtAuthz is the face for Envoy. Metadata of the call itself is Envoy's own, and is never read. All but the status of an
// answer may be there in encoded form only.
func (d *Door) ExtAuthz() authv3.AuthorizationServer {
	return &extAuthz{door: d, answers: newEnvoyAnswers(d)}
}

// Check implements authv3.AuthorizationServer.
func (s *extAuthz) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	attributes := r.GetAttributes()
	asked := attributes.GetRequest().GetHttp()
	e := &enveloped{headers: asked.GetHeaders(), raw: asked.GetHeaderMap().GetHeaders(), path: asked.GetPath()}
	verdict := s.door.check(&visit{
		face: ExtAuthz, request: e, needs: parseRequirements(maps.All(attributes.GetContextExtensions())),
		peer:   verifier.ParseClient(attributes.GetSource().GetAddress().GetSocketAddress().GetAddress()),
		method: asked.GetMethod(), host: asked.GetHost(), path: pathOf(asked.GetPath()),
	})
	if verdict.Code != verifier.Valid {
		return s.answers.denied(&verdict), nil
	}
	return s.answers.allowed(&verdict, e), nil
}

// enveloped is a request that Envoy asks about.
type enveloped struct {
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
func (e *enveloped) Header(_, lower string) []string {
	values := e.one[:0]
	if value, sent := e.headers[lower]; sent {
		values = append(values, value)
	}
	for _, h := range e.raw {
		if strings.EqualFold(h.GetKey(), lower) {
			values = append(values, valueOf(h))
		}
	}
	return values
}

func valueOf(h *corev3.HeaderValue) string {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return h.GetValue()
}

// Queries implements verifier.Request.
func (e *enveloped) Queries() []string {
	if q := query(e.path); q != "" {
		return []string{q}
	}
	return nil
}

// hasParameter is whether the query has a parameter.
func (e *enveloped) hasParameter(name string) bool {
	for pair := range strings.SplitSeq(query(e.path), "&") {
		if found, _, _ := strings.Cut(pair, "="); found == name {
			return true
		}
	}
	return false
}
