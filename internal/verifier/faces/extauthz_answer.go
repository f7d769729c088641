// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package faces

import (
	"hash/maphash"
	"slices"
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
	// refusals are what Envoy is told to answer, by code; ready are whole answers, for those without a key's ID.
	refusals []*authv3.DeniedHttpResponse
	ready    []*authv3.CheckResponse
	// headers, parameters and cookies are where keys are.
	headers, parameters, cookies []string

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

// occasion is all that an answer to who is let in depends on. A verdict stands for one record of a key and one of its
// account: when either changes, verdicts on it are others.
type occasion struct {
	verdict verifier.Verdict
	carried carried
}

// carried are the places where a request had something that may be a key, one bit of mostSources each: headers first,
// then parameters.
type carried uint64

func newEnvoyAnswers(d *Door) *envoyAnswers {
	a := &envoyAnswers{
		denials: &d.denials, seed: maphash.MakeSeed(),
		headers: d.Finder.Headers(), parameters: d.Finder.QueryParameters(), cookies: d.Finder.Cookies(),
	}
	for _, code := range verifier.Codes() {
		entry := &d.denials.list[code]
		refusal := &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(entry.Status)}, //nolint:gosec // of three digits
			Headers: denialHeaders(entry), Body: string(entry.ready),
		}
		a.refusals = append(a.refusals, refusal)
		a.ready = append(a.ready, sealed(&authv3.CheckResponse{
			Status:       &rpcstatus.Status{Code: int32(code.GRPC())}, //nolint:gosec // there are 17 codes
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: refusal},
		}))
	}
	return a
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

func (a *envoyAnswers) denied(v *verifier.Verdict) *authv3.CheckResponse {
	ready := a.ready[v.Code]
	if v.KeyID() == "" {
		return ready
	}
	_, body := a.denials.of(v)
	same := a.refusals[v.Code]
	return &authv3.CheckResponse{
		Status: ready.GetStatus(),
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: same.GetStatus(), Headers: same.GetHeaders(), Body: string(body),
		}},
	}
}

func (a *envoyAnswers) allowed(v *verifier.Verdict, e *enveloped) *authv3.CheckResponse {
	o := occasion{verdict: *v, carried: a.carriedBy(e)}
	if left := a.cutCookies(e); left.cut {
		return a.allow(v.Key(), o.carried, left)
	}
	slot := &a.recent[maphash.Comparable(a.seed, o)%recentAnswers]
	answer := slot.Load()
	if answer == nil || answer.occasion != o {
		answer = &recentAnswer{occasion: o, response: a.allow(v.Key(), o.carried, cookies{})}
		if len(answer.response.ProtoReflect().GetUnknown()) <= longestRecent {
			slot.Store(answer)
		}
	}
	return answer.response
}

func (a *envoyAnswers) carriedBy(e *enveloped) carried {
	var c carried
	for i, name := range a.headers {
		if len(e.Header("", name)) > 0 {
			c |= 1 << i
		}
	}
	for i, name := range a.parameters {
		if e.hasParameter(name) {
			c |= 1 << (len(a.headers) + i)
		}
	}
	return c
}

// allow lets a request pass with the identity of its key, and without the key or what a client says of itself. It is
// written as it goes over the wire: of keys that many different ones are in use, this is most of the cost of an answer.
func (a *envoyAnswers) allow(id *verifier.Identity, c carried, left cookies) *authv3.CheckResponse {
	ok := make(wire, 0, usualAnswer)
	switch {
	case left.cut && left.rest == "":
		ok.text(okHeadersToRemove, "cookie")
	case left.cut:
		ok.overwrite("cookie", left.rest)
	}
	for i, value := range identityValues(id) {
		if value != "" {
			ok.overwrite(lowerIdentityHeaders[i], value)
		} else {
			ok.text(okHeadersToRemove, lowerIdentityHeaders[i])
		}
	}
	for i, name := range a.headers {
		if c&(1<<i) != 0 {
			ok.text(okHeadersToRemove, name)
		}
	}
	for i, name := range a.parameters {
		if c&(1<<(len(a.headers)+i)) != 0 {
			ok.text(okQueryParametersToRemove, name)
		}
	}
	whole := make(wire, 0, len(ok)+usualAnswer)
	whole.message(answerOkResponse, ok)
	whole.message(answerDynamicMetadata, metadataOf(id))
	answer := &authv3.CheckResponse{Status: a.ready[verifier.Valid].GetStatus()}
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

// cookies are what is left of a request's cookies once those that hold keys were cut out, if there were any.
type cookies struct {
	cut  bool
	rest string
}

func (a *envoyAnswers) cutCookies(e *enveloped) cookies {
	if len(a.cookies) == 0 {
		return cookies{}
	}
	cut := false
	var left []string
	for _, line := range e.Header("", "cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			rest := a.cutCookie(pair)
			cut = cut || len(rest) < len(pair)
			if rest = strings.TrimSpace(rest); rest != "" {
				left = append(left, rest)
			}
		}
	}
	return cookies{cut: cut, rest: strings.ToValidUTF8(strings.Join(left, "; "), "!")} // as Envoy has it
}

// cutCookie cuts keys out of what stands between two semicolons: one cookie, or the end of a line and the beginning of the
// next one, which were joined by a comma.
func (a *envoyAnswers) cutCookie(pair string) string {
	if !strings.Contains(pair, ",") {
		if a.isKey(pair) {
			return ""
		}
		return pair
	}
	return strings.Join(slices.DeleteFunc(strings.Split(pair, ","), a.isKey), ",")
}

func (a *envoyAnswers) isKey(cookie string) bool {
	name, _, _ := strings.Cut(cookie, "=")
	return slices.Contains(a.cookies, strings.TrimSpace(name))
}
