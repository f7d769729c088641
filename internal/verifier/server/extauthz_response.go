// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"hash/maphash"
	"strings"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// extAuthzResponses puts verdicts into Envoy's words. Messages are sent again and again, and never changed.
type extAuthzResponses struct {
	denials *denials
	// plain and cors are refusals, the latter with the headers that let a page of another origin read them.
	plain, cors deniedResponses
	// places are where keys may be, and all are the Places that stand for one of them.
	places []verifier.Place
	all    verifier.Places

	seed maphash.Seed
	// cache are the answers to keys in use, each at the place of its hash.
	cache [cacheSize]atomic.Pointer[cachedResponse]
}

// cacheSize and maxCachedLength bound the memory that ready answers take. Most are shorter than a KiB; one with many
// scopes is not worth it.
const (
	cacheSize       = 1 << 13
	maxCachedLength = 1 << 10
)

// cachedResponse is what a verdict was answered with.
type cachedResponse struct {
	cacheKey

	response *authv3.CheckResponse
}

// deniedResponses are refusals by code: what Envoy is told to answer, and whole answers, for those without a key's ID.
type deniedResponses struct {
	responses []*authv3.DeniedHttpResponse
	static    []*authv3.CheckResponse
}

// cacheKey is all that an answer to who is let in depends on. A verdict stands for one record of a key and one of its
// account: when either changes, verdicts on it are others.
type cacheKey struct {
	verdict verifier.Verdict
	// keyLocations are the places that hold the key.
	keyLocations verifier.Places
}

func newExtAuthzResponses(a *Authorizer) *extAuthzResponses {
	r := &extAuthzResponses{denials: &a.denials, seed: maphash.MakeSeed(), places: a.places, plain: newDeniedResponses(a), cors: newDeniedResponses(a, corsHeaders[:]...)}
	for _, p := range a.places {
		r.all |= p.Bits
	}
	return r
}

// newDeniedResponses returns the refusals of a door, with further headers.
func newDeniedResponses(a *Authorizer, headers ...[2]string) (r deniedResponses) {
	for _, code := range verifier.Codes() {
		entry := &a.denials.list[code]
		refusal := &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(entry.Status)}, //nolint:gosec // of three digits
			Headers: denialHeaders(entry), Body: string(entry.static),
		}
		for _, header := range headers {
			refusal.Headers = append(refusal.Headers, overwrite(strings.ToLower(header[0]), header[1]))
		}
		r.responses = append(r.responses, refusal)
		r.static = append(r.static, preEncoded(&authv3.CheckResponse{
			Status:       &rpcstatus.Status{Code: int32(code.GRPC())}, //nolint:gosec // there are 17 codes
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: refusal},
		}))
	}
	return r
}

// preEncoded is the same message on the wire, with all but its status encoded already: what would be most of the cost of an
// answer is paid once. Bytes of unknown fields are sent as they are.
func preEncoded(m *authv3.CheckResponse) *authv3.CheckResponse {
	raw, err := proto.Marshal(&authv3.CheckResponse{HttpResponse: m.GetHttpResponse(), DynamicMetadata: m.GetDynamicMetadata()})
	if err != nil {
		return m
	}
	s := &authv3.CheckResponse{Status: m.GetStatus()}
	s.ProtoReflect().SetUnknown(raw)
	return s
}

func denialHeaders(d *denial) []*corev3.HeaderValueOption {
	list := []*corev3.HeaderValueOption{overwrite("content-type", problemType), overwrite("cache-control", "no-store")}
	if d.challenge != "" {
		list = append(list, overwrite("www-authenticate", d.challenge))
	}
	return list
}

// overwrite sets a header, whatever the client sent under its name.
func overwrite(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func (r *extAuthzResponses) denied(v *verifier.Verdict, cors bool) *authv3.CheckResponse {
	refusals := &r.plain
	if cors {
		refusals = &r.cors
	}
	ready := refusals.static[v.Code]
	if v.KeyID() == "" {
		return ready
	}
	_, body := r.denials.of(v)
	same := refusals.responses[v.Code]
	return &authv3.CheckResponse{
		Status: ready.GetStatus(),
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: same.GetStatus(), Headers: same.GetHeaders(), Body: string(body),
		}},
	}
}

func (r *extAuthzResponses) allowed(v *verifier.Verdict, e *envoyRequest, keys verifier.Places) *authv3.CheckResponse {
	o := cacheKey{verdict: *v, keyLocations: keys & r.all}
	if left := cutCookies(e.Header("", "cookie"), r.places, keys); left.cut {
		return r.allow(v.Key(), o.keyLocations, left)
	}
	slot := &r.cache[maphash.Comparable(r.seed, o)%cacheSize]
	answer := slot.Load()
	if answer == nil || answer.cacheKey != o {
		answer = &cachedResponse{cacheKey: o, response: r.allow(v.Key(), o.keyLocations, cookies{})}
		if len(answer.response.ProtoReflect().GetUnknown()) <= maxCachedLength {
			slot.Store(answer)
		}
	}
	return answer.response
}

// allow lets a request pass with the identity of its key, if it has one, and without the key or what a client says of itself.
// It is written as it goes over the wire: of keys that many different ones are in use, this is most of the cost of an answer.
func (r *extAuthzResponses) allow(id *verifier.Identity, keys verifier.Places, left cookies) *authv3.CheckResponse {
	ok := make(protoWriter, 0, typicalLength)
	switch {
	case left.cut && left.rest == "":
		ok.text(okHeadersToRemove, "cookie")
	case left.cut:
		ok.overwrite("cookie", left.rest)
	}
	var values [headerCount]string
	if id != nil {
		values = identityValues(id)
	}
	for i, value := range values {
		if value != "" {
			ok.overwrite(lowerIdentityHeaders[i], value)
		} else {
			ok.text(okHeadersToRemove, lowerIdentityHeaders[i])
		}
	}
	for _, p := range r.places {
		switch {
		case p.Bits&keys == 0:
		case p.Header != "":
			ok.text(okHeadersToRemove, p.Header)
		case p.Parameter != "":
			ok.text(okQueryParametersToRemove, p.Parameter)
		}
	}
	whole := make(protoWriter, 0, len(ok)+typicalLength)
	whole.message(answerOkResponse, ok)
	if id != nil {
		whole.message(answerDynamicMetadata, metadataOf(id))
	}
	answer := &authv3.CheckResponse{Status: r.plain.static[verifier.Valid].GetStatus()}
	answer.ProtoReflect().SetUnknown(protoreflect.RawFields(whole))
	return answer
}

// metadataOf is what later filters, such as rate limits, may go by: a google.protobuf.Struct.
func metadataOf(id *verifier.Identity) protoWriter {
	m := make(protoWriter, 0, typicalLength)
	m.textField("keyID", id.KeyID)
	m.textField("account", id.Account)
	if id.ExternalID != "" {
		m.textField("externalID", strings.ToValidUTF8(id.ExternalID, "\uFFFD"))
	}
	m.listField("scopes", id.Scopes)
	return m
}
