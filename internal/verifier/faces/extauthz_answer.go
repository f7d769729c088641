// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package faces

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

// envoyAnswers puts verdicts into Envoy's words. Messages are sent again and again, and never changed.
type envoyAnswers struct {
	denials *denials
	// plain and cors are refusals, the latter with the headers that let a page of another origin read them.
	plain, cors refusals
	// places are where keys may be, and all are the Places that stand for one of them.
	places []verifier.Place
	all    verifier.Places

	seed maphash.Seed
	// recent are the answers to keys in use, each at the place of its hash.
	recent [recentAnswers]atomic.Pointer[recentAnswer]
}

// recentAnswers and longestRecent bound the memory that ready answers take. Most are shorter than a KiB; one with many
// scopes is not worth it.
const (
	recentAnswers = 1 << 13
	longestRecent = 1 << 10
)

// recentAnswer is what a verdict was answered with.
type recentAnswer struct {
	occasion

	response *authv3.CheckResponse
}

// refusals are refusals by code: what Envoy is told to answer, and whole answers, for those without a key's ID.
type refusals struct {
	responses []*authv3.DeniedHttpResponse
	ready     []*authv3.CheckResponse
}

// occasion is all that an answer to who is let in depends on. A verdict stands for one record of a key and one of its
// account: when either changes, verdicts on it are others.
type occasion struct {
	verdict verifier.Verdict
	// keys are the places that hold the key.
	keys verifier.Places
}

func newEnvoyAnswers(d *Door) *envoyAnswers {
	a := &envoyAnswers{denials: &d.denials, seed: maphash.MakeSeed(), places: d.places, plain: newRefusals(d), cors: newRefusals(d, corsHeaders[:]...)}
	for _, p := range d.places {
		a.all |= p.Bits
	}
	return a
}

// newRefusals returns the refusals of a door, with further headers.
func newRefusals(d *Door, headers ...[2]string) (r refusals) {
	for _, code := range verifier.Codes() {
		entry := &d.denials.list[code]
		refusal := &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(entry.Status)}, //nolint:gosec // of three digits
			Headers: denialHeaders(entry), Body: string(entry.ready),
		}
		for _, header := range headers {
			refusal.Headers = append(refusal.Headers, overwrite(strings.ToLower(header[0]), header[1]))
		}
		r.responses = append(r.responses, refusal)
		r.ready = append(r.ready, sealed(&authv3.CheckResponse{
			Status:       &rpcstatus.Status{Code: int32(code.GRPC())}, //nolint:gosec // there are 17 codes
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: refusal},
		}))
	}
	return r
}

// sealed is the same message on the wire, with all but its status encoded already: what would be most of the cost of an
// answer is paid once. Bytes of unknown fields are sent as they are.
func sealed(m *authv3.CheckResponse) *authv3.CheckResponse {
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

func (a *envoyAnswers) denied(v *verifier.Verdict, cors bool) *authv3.CheckResponse {
	refusals := &a.plain
	if cors {
		refusals = &a.cors
	}
	ready := refusals.ready[v.Code]
	if v.KeyID() == "" {
		return ready
	}
	_, body := a.denials.of(v)
	same := refusals.responses[v.Code]
	return &authv3.CheckResponse{
		Status: ready.GetStatus(),
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: same.GetStatus(), Headers: same.GetHeaders(), Body: string(body),
		}},
	}
}

func (a *envoyAnswers) allowed(v *verifier.Verdict, e *enveloped, keys verifier.Places) *authv3.CheckResponse {
	o := occasion{verdict: *v, keys: keys & a.all}
	if left := cutCookies(e.Header("", "cookie"), a.places, keys); left.cut {
		return a.allow(v.Key(), o.keys, left)
	}
	slot := &a.recent[maphash.Comparable(a.seed, o)%recentAnswers]
	answer := slot.Load()
	if answer == nil || answer.occasion != o {
		answer = &recentAnswer{occasion: o, response: a.allow(v.Key(), o.keys, cookies{})}
		if len(answer.response.ProtoReflect().GetUnknown()) <= longestRecent {
			slot.Store(answer)
		}
	}
	return answer.response
}

// allow lets a request pass with the identity of its key, if it has one, and without the key or what a client says of itself.
// It is written as it goes over the wire: of keys that many different ones are in use, this is most of the cost of an answer.
func (a *envoyAnswers) allow(id *verifier.Identity, keys verifier.Places, left cookies) *authv3.CheckResponse {
	ok := make(wire, 0, usualAnswer)
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
	for _, p := range a.places {
		switch {
		case p.Bits&keys == 0:
		case p.Header != "":
			ok.text(okHeadersToRemove, p.Header)
		case p.Parameter != "":
			ok.text(okQueryParametersToRemove, p.Parameter)
		}
	}
	whole := make(wire, 0, len(ok)+usualAnswer)
	whole.message(answerOkResponse, ok)
	if id != nil {
		whole.message(answerDynamicMetadata, metadataOf(id))
	}
	answer := &authv3.CheckResponse{Status: a.plain.ready[verifier.Valid].GetStatus()}
	answer.ProtoReflect().SetUnknown(protoreflect.RawFields(whole))
	return answer
}

// metadataOf is what later filters, such as rate limits, may go by: a google.protobuf.Struct.
func metadataOf(id *verifier.Identity) wire {
	m := make(wire, 0, usualAnswer)
	m.textField("keyID", id.KeyID)
	m.textField("account", id.Account)
	if id.ExternalID != "" {
		m.textField("externalID", strings.ToValidUTF8(id.ExternalID, "\uFFFD"))
	}
	m.listField("scopes", id.Scopes)
	return m
}
