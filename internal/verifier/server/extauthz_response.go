// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// This file writes the responses of ext_authz. Refusals without a key ID are encoded once, all other responses are written by
// hand into a buffer that is reused (see proto_writer.go). BenchmarkExtAuthz_InProcess measures them:
//
//	go test ./internal/verifier/server -run '^$' -bench 'ExtAuthz_(InProcess|ManyKeys)'
//
// TestExtAuthz_EncodingEqualsGeneratedTypes, TestExtAuthz_Allows and TestExtAuthz_Denies guard the encoding: they decode
// responses and compare them with the generated types.

package server

import (
	"fmt"
	"net/http"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"k8s.io/utils/ptr"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// extAuthzResponses converts verdicts to encoded responses of ext_authz.
type extAuthzResponses struct {
	denials *denials
	// plain and cors hold the refusals by code. Those in cors have headers that allow a page of another origin to read them.
	plain, cors []deniedResponse
	// misconfigured is the response to a request whose route has unknown requirements.
	misconfigured mem.Buffer
	// places holds the places that may hold a key.
	places []verifier.Place
	// metadataHeaders configures the identity headers that hold metadata.
	metadataHeaders []MetadataHeader
}

// deniedResponse holds a refusal.
type deniedResponse struct {
	// static is the response to a verdict without a key ID.
	static mem.Buffer
	// status holds the encoded CheckResponse of a verdict with a key ID, except for the HTTP response and the metadata, and
	// http the encoded HTTP response, except for the body.
	status, http []byte
}

func newExtAuthzResponses(a *Authorizer) *extAuthzResponses {
	r := &extAuthzResponses{denials: &a.denials, places: a.places, metadataHeaders: a.MetadataHeaders, misconfigured: misconfiguredResponse()}
	for _, code := range verifier.Codes() {
		r.plain = append(r.plain, newDeniedResponse(&a.denials.list[code], code))
		r.cors = append(r.cors, newDeniedResponse(&a.denials.list[code], code, corsHeaders[:]...))
	}
	return r
}

// newDeniedResponse returns a refusal, with additional headers.
func newDeniedResponse(entry *denial, code verifier.Code, headers ...[2]string) deniedResponse {
	httpResponse := &authv3.DeniedHttpResponse{
		Status:  &typev3.HttpStatus{Code: typev3.StatusCode(entry.Status)}, //nolint:gosec // status codes have three digits
		Headers: denialHeaders(entry),
	}
	for _, header := range headers {
		httpResponse.Headers = append(httpResponse.Headers, overwriteHeader(strings.ToLower(header[0]), header[1]))
	}
	response := &authv3.CheckResponse{Status: &rpcstatus.Status{Code: int32(code.GRPC())}} //nolint:gosec // there are 17 codes
	d := deniedResponse{status: mustEncode(response), http: mustEncode(httpResponse)}
	httpResponse.Body = string(entry.static)
	response.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: httpResponse}
	d.static = mem.SliceBuffer(mustEncode(response))
	return d
}

// misconfiguredResponse returns the response to a request whose route has unknown requirements. It does not name them, because
// it reaches the client.
func misconfiguredResponse() mem.Buffer {
	body := problem{Type: blank, Title: http.StatusText(http.StatusForbidden), Status: http.StatusForbidden, Detail: unknownRequirement}.body()
	return mem.SliceBuffer(mustEncode(&authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied), Message: unknownRequirement},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden}, Headers: denialHeaders(&denial{}), Body: string(body),
		}},
	}))
}

// mustEncode returns an encoded message at startup. It panics if the message is invalid: Envoy would take an empty response for
// one that allows the request.
func mustEncode(m proto.Message) []byte {
	encoded, err := proto.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("failed to encode a response: %v", err))
	}
	return encoded
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

// forDenied returns the refusal for a verdict. It writes a new message only if the verdict has a key ID.
func (r *extAuthzResponses) forDenied(v *verifier.Verdict, cors bool) mem.Buffer {
	response := &r.plain[v.Code]
	if cors {
		response = &r.cors[v.Code]
	}
	if v.KeyID() == "" {
		return response.static
	}
	return writeResponse(func(w *protoWriter) {
		_, body := r.denials.forVerdict(v)
		*w = append(*w, response.status...)
		denied := w.begin(checkDeniedResponse)
		*w = append(*w, response.http...)
		w.appendString(deniedBody, string(body))
		w.end(denied)
		metadata := w.begin(checkDynamicMetadata) // what the access log needs to name the key
		w.appendStructString("keyID", v.KeyID())
		w.appendStructString("account", v.Account())
		w.end(metadata)
	})
}

// typicalLength suffices for most responses. The pool of gRPC has buffers of this length.
const typicalLength = 4 << 10

// writeResponse returns the response that write writes, in a buffer that is reused after gRPC has sent it. The memory of a longer
// response is not reused: the pool would keep it among shorter buffers, and clear all of it for each of them.
func writeResponse(write func(*protoWriter)) mem.Buffer {
	pool := mem.DefaultBufferPool()
	buffer := pool.Get(typicalLength)
	w := protoWriter((*buffer)[:0])
	write(&w)
	if cap(w) > cap(*buffer) {
		pool.Put(buffer)
		return mem.SliceBuffer(w)
	}
	*buffer = w
	return mem.NewBuffer(buffer, pool)
}

// forAllowed returns the response to an allowed request, whose keys are at some places.
func (r *extAuthzResponses) forAllowed(v *verifier.Verdict, request *checkRequest, keys verifier.Places) mem.Buffer {
	remaining := cutCookies(request.Header("", "cookie"), r.places, keys)
	return writeResponse(func(w *protoWriter) { r.appendAllowed(w, v.Key(), keys, remaining) })
}

// appendAllowed writes a response that allows the request, sets the identity headers of its key, and removes the key and
// identity headers that the client sent.
func (r *extAuthzResponses) appendAllowed(w *protoWriter, id *verifier.Identity, keys verifier.Places, remaining cookies) {
	w.end(w.begin(checkStatus))
	ok := w.begin(checkOkResponse)
	switch {
	case remaining.cut && remaining.rest == "":
		w.appendString(okHeadersToRemove, "cookie")
	case remaining.cut:
		w.appendOverwrite("cookie", remaining.rest)
	}
	r.appendIdentity(w, id)
	for _, p := range r.places {
		switch {
		case p.Bits&keys == 0:
		case p.Header != "":
			w.appendString(okHeadersToRemove, p.Header)
		case p.Parameter != "":
			w.appendString(okQueryParametersToRemove, p.Parameter)
		}
	}
	w.end(ok)
	if id != nil {
		metadata := w.begin(checkDynamicMetadata)
		w.appendMetadata(id)
		w.end(metadata)
	}
}

// appendIdentity writes the identity headers of a key. A header without a value is removed, because the client may have
// sent it. If id is nil, all are removed.
func (r *extAuthzResponses) appendIdentity(w *protoWriter, id *verifier.Identity) {
	var values [headerCount]string
	if id != nil {
		values = identityValues(id)
	}
	for i, value := range values {
		w.appendOverwriteOrRemove(lowerIdentityHeaders[i], value)
	}
	for i := range r.metadataHeaders {
		value := ""
		if id != nil {
			value = r.metadataHeaders[i].value(id)
		}
		w.appendOverwriteOrRemove(r.metadataHeaders[i].lower, value)
	}
}

// appendMetadata writes a google.protobuf.Struct that later filters, such as rate limits, can use.
func (w *protoWriter) appendMetadata(id *verifier.Identity) {
	w.appendStructString("keyID", id.KeyID)
	w.appendStructString("name", id.Namespace+"/"+id.Name)
	w.appendStructString("uid", id.UID)
	w.appendStructString("account", id.Account)
	if id.ExternalID != "" {
		w.appendStructString("externalID", id.ExternalID)
	}
	w.appendStructList("scopes", id.Scopes)
	if id.Plan != "" {
		w.appendStructString("plan", id.Plan)
	}
	if len(id.Metadata) > 0 {
		w.appendStruct("metadata", func() {
			for _, entry := range id.Metadata {
				w.appendStructString(entry.Name, entry.Value)
			}
		})
	}
	w.appendRateLimits("rateLimits", id.RateLimits)
	w.appendRateLimits("accountRateLimits", id.AccountRateLimits)
}

// appendRateLimits writes a struct of rate limits by name, each in the form that a rate limit of Envoy reads as its override
// (envoy.config.route.v3.RateLimit.Override.DynamicMetadata). Each is also a field of its own, such as rateLimits.requests,
// because Envoy Gateway reads no fields of a struct. Envoy 1.40 knows no unit WEEK: it ignores such an override, and the
// limit of the route applies.
func (w *protoWriter) appendRateLimits(name string, limits []v1alpha1.RateLimit) {
	if len(limits) == 0 {
		return
	}
	w.appendStruct(name, func() {
		for i := range limits {
			w.appendRateLimit(limits[i].Name, &limits[i])
		}
	})
	for i := range limits {
		w.appendRateLimit(name+"."+limits[i].Name, &limits[i])
	}
}

func (w *protoWriter) appendRateLimit(name string, limit *v1alpha1.RateLimit) {
	w.appendStruct(name, func() {
		w.appendStructNumber("requests_per_unit", float64(ptr.Deref(limit.Requests, 0)))
		w.appendStructString("unit", strings.ToUpper(string(limit.Unit)))
	})
}
