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
		httpResponse := &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(entry.Status)}, //nolint:gosec // of three digits
			Headers: denialHeaders(entry), Body: string(entry.static),
		}
		for _, header := range headers {
			httpResponse.Headers = append(httpResponse.Headers, overwriteHeader(strings.ToLower(header[0]), header[1]))
		}
		r.responses = append(r.responses, httpResponse)
		r.static = append(r.static, preEncode(&authv3.CheckResponse{
			Status:       &rpcstatus.Status{Code: int32(code.GRPC())}, //nolint:gosec // there are 17 codes
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: httpResponse},
		}))
	}
	return r
}

// preEncode is the same message on the wire, with all but its status encoded already: what would be most of the cost of an
// answer is paid once. Bytes of unknown fields are sent as they are.
func preEncode(m *authv3.CheckResponse) *authv3.CheckResponse {
	encoded, err := proto.Marshal(&authv3.CheckResponse{HttpResponse: m.GetHttpResponse(), DynamicMetadata: m.GetDynamicMetadata()})
	if err != nil {
		return m
	}
	response := &authv3.CheckResponse{Status: m.GetStatus()}
	response.ProtoReflect().SetUnknown(encoded)
	return response
}

func denialHeaders(d *denial) []*corev3.HeaderValueOption {
	list := []*corev3.HeaderValueOption{overwriteHeader("content-type", problemType), overwriteHeader("cache-control", "no-store")}
	if d.challenge != "" {
		list = append(list, overwriteHeader("www-authenticate", d.challenge))
	}
	return list
}

// overwriteHeader sets a header, whatever the client sent under its name.
func overwriteHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func (r *extAuthzResponses) denied(v *verifier.Verdict, cors bool) *authv3.CheckResponse {
	responses := &r.plain
	if cors {
		responses = &r.cors
	}
	static := responses.static[v.Code]
	if v.KeyID() == "" {
		return static
	}
	_, body := r.denials.forVerdict(v)
	httpResponse := responses.responses[v.Code]
	return &authv3.CheckResponse{
		Status: static.GetStatus(),
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: httpResponse.GetStatus(), Headers: httpResponse.GetHeaders(), Body: string(body),
		}},
	}
}

func (r *extAuthzResponses) allowed(v *verifier.Verdict, e *envoyRequest, keys verifier.Places) *authv3.CheckResponse {
	key := cacheKey{verdict: *v, keyLocations: keys & r.all}
	if remaining := cutCookies(e.Header("", "cookie"), r.places, keys); remaining.cut {
		return r.buildAllowed(v.Key(), key.keyLocations, remaining)
	}
	slot := &r.cache[maphash.Comparable(r.seed, key)%cacheSize]
	cached := slot.Load()
	if cached == nil || cached.cacheKey != key {
		cached = &cachedResponse{cacheKey: key, response: r.buildAllowed(v.Key(), key.keyLocations, cookies{})}
		if len(cached.response.ProtoReflect().GetUnknown()) <= maxCachedLength {
			slot.Store(cached)
		}
	}
	return cached.response
}

// buildAllowed lets a request pass with the identity of its key, if it has one, and without the key or what a client says of itself.
// It is written as it goes over the wire: of keys that many different ones are in use, this is most of the cost of an answer.
func (r *extAuthzResponses) buildAllowed(id *verifier.Identity, keys verifier.Places, remaining cookies) *authv3.CheckResponse {
	ok := make(protoWriter, 0, typicalLength)
	switch {
	case remaining.cut && remaining.rest == "":
		ok.appendString(okHeadersToRemove, "cookie")
	case remaining.cut:
		ok.appendOverwrite("cookie", remaining.rest)
	}
	var values [headerCount]string
	if id != nil {
		values = identityValues(id)
	}
	for i, value := range values {
		if value != "" {
			ok.appendOverwrite(lowerIdentityHeaders[i], value)
		} else {
			ok.appendString(okHeadersToRemove, lowerIdentityHeaders[i])
		}
	}
	for _, p := range r.places {
		switch {
		case p.Bits&keys == 0:
		case p.Header != "":
			ok.appendString(okHeadersToRemove, p.Header)
		case p.Parameter != "":
			ok.appendString(okQueryParametersToRemove, p.Parameter)
		}
	}
	encoded := make(protoWriter, 0, len(ok)+typicalLength)
	encoded.appendMessage(checkOkResponse, ok)
	if id != nil {
		encoded.appendMessage(checkDynamicMetadata, dynamicMetadata(id))
	}
	response := &authv3.CheckResponse{Status: r.plain.static[verifier.Valid].GetStatus()}
	response.ProtoReflect().SetUnknown(protoreflect.RawFields(encoded))
	return response
}

// dynamicMetadata is what later filters, such as rate limits, may go by: a google.protobuf.Struct.
func dynamicMetadata(id *verifier.Identity) protoWriter {
	m := make(protoWriter, 0, typicalLength)
	m.appendStructString("keyID", id.KeyID)
	m.appendStructString("account", id.Account)
	if id.ExternalID != "" {
		m.appendStructString("externalID", strings.ToValidUTF8(id.ExternalID, "\uFFFD"))
	}
	m.appendStructList("scopes", id.Scopes)
	return m
}
