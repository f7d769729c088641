// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// This file builds the responses of ext_authz. Encoding them is the most expensive part of a check, so refusals without a
// key ID are encoded once, and responses that allow a request are written by hand (see proto_writer.go for the figures)
// and cached. BenchmarkExtAuthz_InProcess measures a cached response, BenchmarkExtAuthz_ManyKeys more keys than the cache
// holds:
//
//	go test ./internal/verifier/server -run '^$' -bench 'ExtAuthz_(InProcess|ManyKeys)'
//
// TestExtAuthz_EncodingEqualsGeneratedTypes, TestExtAuthz_Allows and TestExtAuthz_Denies guard the encoding: they decode
// responses and compare them with the generated types. TestExtAuthz_AnswerChangesWithKey and
// TestExtAuthz_AnswersAreNotMixedUp guard the cache.

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
	"google.golang.org/protobuf/types/known/structpb"
	"k8s.io/utils/ptr"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// extAuthzResponses converts verdicts to responses of ext_authz. Responses are reused and must not be modified.
type extAuthzResponses struct {
	denials *denials
	// plain and cors hold the refusals. Those in cors have headers that allow a page of another origin to read them.
	plain, cors deniedResponses
	// places holds the places that may hold a key, all the union of their bits.
	places []verifier.Place
	all    verifier.Places
	// metadataHeaders configures the identity headers that hold metadata.
	metadataHeaders []MetadataHeader

	seed maphash.Seed
	// cache holds the responses for keys in use, indexed by the hash of their cacheKey.
	cache [cacheSize]atomic.Pointer[cachedResponse]
}

// cacheSize and maxCachedLength limit the memory of the cache: its responses take at most 16 MiB. With a plan, two rate limits and
// two metadata entries, a response takes 1.2 KiB. Those longer than 2 KiB, with many scopes, rate limits or metadata entries, are not
// cached.
const (
	cacheSize       = 1 << 13
	maxCachedLength = 2 << 10
)

// cachedResponse holds the response for a cacheKey.
type cachedResponse struct {
	cacheKey

	response *authv3.CheckResponse
}

// deniedResponses holds the refusals by code: the HTTP responses that Envoy returns to the client, and complete
// pre-encoded responses for verdicts without a key ID.
type deniedResponses struct {
	responses []*authv3.DeniedHttpResponse
	static    []*authv3.CheckResponse
}

// cacheKey holds everything that the response to an allowed request depends on. A verdict refers to one record of a key
// and one of its account, so an update of either changes the verdict.
type cacheKey struct {
	verdict verifier.Verdict
	// keyLocations holds the places that hold the key.
	keyLocations verifier.Places
}

func newExtAuthzResponses(a *Authorizer) *extAuthzResponses {
	r := &extAuthzResponses{
		denials: &a.denials, seed: maphash.MakeSeed(), places: a.places, plain: newDeniedResponses(a),
		cors: newDeniedResponses(a, corsHeaders[:]...), metadataHeaders: a.MetadataHeaders,
	}
	for _, p := range a.places {
		r.all |= p.Bits
	}
	return r
}

// newDeniedResponses returns the refusals of an Authorizer, with additional headers.
func newDeniedResponses(a *Authorizer, headers ...[2]string) (r deniedResponses) {
	for _, code := range verifier.Codes() {
		entry := &a.denials.list[code]
		httpResponse := &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(entry.Status)}, //nolint:gosec // status codes have three digits
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

// preEncode returns a message that encodes to the same bytes as m, with everything but the status already encoded. This
// moves most of the cost of a response to startup. Unknown fields are sent unchanged.
func preEncode(m *authv3.CheckResponse) *authv3.CheckResponse {
	encoded, err := proto.Marshal(&authv3.CheckResponse{HttpResponse: m.GetHttpResponse(), DynamicMetadata: m.GetDynamicMetadata()})
	if err != nil {
		return m
	}
	response := &authv3.CheckResponse{Status: m.GetStatus()}
	response.ProtoReflect().SetUnknown(encoded)
	return response
}

// denialHeaders returns the headers of a refusal.
func denialHeaders(d *denial) []*corev3.HeaderValueOption {
	list := []*corev3.HeaderValueOption{overwriteHeader("content-type", problemType), overwriteHeader("cache-control", "no-store")}
	if d.challenge != "" {
		list = append(list, overwriteHeader("www-authenticate", d.challenge))
	}
	if d.retryAfter != "" {
		list = append(list, overwriteHeader("retry-after", d.retryAfter))
	}
	return list
}

// overwriteHeader returns an option that sets a header and replaces any value from the client.
func overwriteHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// forDenied returns the refusal for a verdict. It builds a new message only if the verdict has a key ID.
func (r *extAuthzResponses) forDenied(v *verifier.Verdict, cors bool) *authv3.CheckResponse {
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
		DynamicMetadata: deniedMetadata(v),
	}
}

// deniedMetadata returns the dynamic metadata of a refusal: what the access log needs to name the key.
func deniedMetadata(v *verifier.Verdict) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"keyID": structpb.NewStringValue(v.KeyID()), "account": structpb.NewStringValue(v.Account()),
	}}
}

// forAllowed returns the response to an allowed request. It comes from the cache unless a cookie has to be removed.
func (r *extAuthzResponses) forAllowed(v *verifier.Verdict, e *envoyRequest, keys verifier.Places) *authv3.CheckResponse {
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

// buildAllowed returns a response that allows the request, sets the identity headers of its key, and removes the key
// and identity headers that the client sent. The response is written in encoded form, because encoding is most of its
// cost when many different keys are in use.
func (r *extAuthzResponses) buildAllowed(id *verifier.Identity, keys verifier.Places, remaining cookies) *authv3.CheckResponse {
	ok := make(protoWriter, 0, typicalLength)
	switch {
	case remaining.cut && remaining.rest == "":
		ok.appendString(okHeadersToRemove, "cookie")
	case remaining.cut:
		ok.appendOverwrite("cookie", remaining.rest)
	}
	r.appendIdentity(&ok, id)
	for _, p := range r.places {
		switch {
		case p.Bits&keys == 0:
		case p.Header != "":
			ok.appendString(okHeadersToRemove, p.Header)
		case p.Parameter != "":
			ok.appendString(okQueryParametersToRemove, p.Parameter)
		}
	}
	var metadata protoWriter
	if id != nil {
		metadata = dynamicMetadata(id)
	}
	// The cache keeps these bytes, so none are allocated in excess.
	encoded := make(protoWriter, 0, fieldSize(checkOkResponse, len(ok))+fieldSize(checkDynamicMetadata, len(metadata)))
	encoded.appendMessage(checkOkResponse, ok)
	if id != nil {
		encoded.appendMessage(checkDynamicMetadata, metadata)
	}
	response := &authv3.CheckResponse{Status: r.plain.static[verifier.Valid].GetStatus()}
	response.ProtoReflect().SetUnknown(protoreflect.RawFields(encoded))
	return response
}

// appendIdentity writes the identity headers of a key. A header without a value is removed, because the client may have
// sent it. If id is nil, all are removed.
func (r *extAuthzResponses) appendIdentity(ok *protoWriter, id *verifier.Identity) {
	var values [headerCount]string
	if id != nil {
		values = identityValues(id)
	}
	for i, value := range values {
		ok.appendOverwriteOrRemove(lowerIdentityHeaders[i], value)
	}
	for i := range r.metadataHeaders {
		value := ""
		if id != nil {
			value = r.metadataHeaders[i].value(id)
		}
		ok.appendOverwriteOrRemove(r.metadataHeaders[i].lower, value)
	}
}

// dynamicMetadata returns a google.protobuf.Struct that later filters, such as rate limits, can use.
func dynamicMetadata(id *verifier.Identity) protoWriter {
	m := make(protoWriter, 0, typicalLength)
	m.appendStructString("keyID", id.KeyID)
	m.appendStructString("name", id.Namespace+"/"+id.Name)
	m.appendStructString("uid", id.UID)
	m.appendStructString("account", id.Account)
	if id.ExternalID != "" {
		m.appendStructString("externalID", id.ExternalID)
	}
	m.appendStructList("scopes", id.Scopes)
	if id.Plan != "" {
		m.appendStructString("plan", id.Plan)
	}
	if len(id.Metadata) > 0 {
		m.appendStruct("metadata", metadataFields(id.Metadata))
	}
	m.appendRateLimits("rateLimits", id.RateLimits)
	m.appendRateLimits("accountRateLimits", id.AccountRateLimits)
	return m
}

// metadataFields returns the fields of a google.protobuf.Struct with the metadata of a key.
func metadataFields(metadata verifier.Metadata) protoWriter {
	fields := make(protoWriter, 0, typicalLength)
	for _, entry := range metadata {
		fields.appendStructString(entry.Name, entry.Value)
	}
	return fields
}

// typicalOverrideLength suffices for the encoding of each rate limit.
const typicalOverrideLength = 64

// appendRateLimits writes a struct of rate limits by name, each in the form that a rate limit of Envoy reads as its override
// (envoy.config.route.v3.RateLimit.Override.DynamicMetadata). Each is also a field of its own, such as rateLimits.requests,
// because Envoy Gateway reads no fields of a struct. Envoy 1.40 knows no unit WEEK: it ignores such an override, and the
// limit of the route applies.
func (w *protoWriter) appendRateLimits(name string, limits []v1alpha1.RateLimit) {
	if len(limits) == 0 {
		return
	}
	byName, override := make(protoWriter, 0, typicalLength), make(protoWriter, 0, typicalOverrideLength)
	for _, limit := range limits {
		override = override[:0]
		override.appendStructNumber("requests_per_unit", float64(ptr.Deref(limit.Requests, 0)))
		override.appendStructString("unit", strings.ToUpper(string(limit.Unit)))
		byName.appendStruct(limit.Name, override)
		w.appendStruct(name+"."+limit.Name, override)
	}
	w.appendStruct(name, byName)
}
