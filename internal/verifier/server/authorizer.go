// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// Protocol identifies the protocol of a request to the verifier.
type Protocol uint8

// The supported protocols.
const (
	ExtAuthz Protocol = iota
	ForwardAuth
	Verify
	Explain

	protocolCount
)

var protocolNames = [protocolCount]string{"ext_authz", "forward_auth", "verify", "explain"}

// String returns the name of the protocol in metrics and audit lines.
func (p Protocol) String() string { return protocolNames[p] }

// Protocols returns all protocols.
func Protocols() []Protocol { return []Protocol{ExtAuthz, ForwardAuth, Verify, Explain} }

// Observer is called with each verdict. It must not block.
type Observer func(protocol Protocol, verdict verifier.Verdict, took time.Duration)

// AuthorizerOptions configures an Authorizer.
type AuthorizerOptions struct {
	Extractor *verifier.KeyExtractor
	ClientIP  *verifier.ClientIPResolver
	// AddressHeader selects the header in which trusted proxies pass on the address of the client. It defaults to
	// X-Forwarded-For.
	AddressHeader verifier.AddressHeader
	Clusters      *verifier.Clusters
	Clock         clock.PassiveClock
	// AccountHeader configures the request header that must identify the account of the key.
	AccountHeader AccountHeader
	// MetadataHeaders configures the identity headers that hold metadata.
	MetadataHeaders []MetadataHeader
	// Realm names the protection space in the WWW-Authenticate header of a 401 response.
	Realm string
	// DenyStatusOnly limits the status codes of refusals to 401 and 403.
	DenyStatusOnly bool
	// Failures limits the requests with unknown keys of a client. A nil limiter limits no client.
	Failures *verifier.FailureLimiter
	// IgnoreExtensions lists the context extensions of Envoy that the verifier ignores.
	IgnoreExtensions []string
	// Logger receives messages about misconfigured gateways.
	Logger logr.Logger
	// Audit logs verdicts. A nil Audit logs nothing.
	Audit *Audit
	// Observers are called with each verdict.
	Observers []Observer
}

// Authorizer checks requests on behalf of all protocols.
type Authorizer struct {
	AuthorizerOptions
	denials denials
	places  []verifier.Place
}

// NewAuthorizer returns an Authorizer. It returns an error if a key source is one of the identity headers.
func NewAuthorizer(o AuthorizerOptions) (*Authorizer, error) {
	places := o.Extractor.Places()
	for _, p := range places {
		if isIdentityHeader(p.Header, o.MetadataHeaders) {
			return nil, fmt.Errorf("invalid key source header:%s: must not be an identity header, which the verifier sets", p.Header)
		}
	}
	return &Authorizer{AuthorizerOptions: o, denials: newDenials(&o), places: places}, nil
}

// isIdentityHeader reports whether the verifier sets a header, whose name is in lower case.
func isIdentityHeader(lower string, metadata []MetadataHeader) bool {
	return slices.Contains(lowerIdentityHeaders[:], lower) ||
		slices.ContainsFunc(metadata, func(h MetadataHeader) bool { return h.lower == lower })
}

// request holds a request to be checked.
type request struct {
	protocol Protocol
	request  verifier.Request
	// peer holds the address that the gateway reports as its peer, or the address of the gateway itself if it reports
	// none.
	peer netip.Addr
	// requirements holds what the route requires of the key.
	requirements Requirements
	// confirmedMethod holds the method of the client's request. It is empty if the gateway's statements about it
	// contradict each other.
	confirmedMethod string
	// method, host and path are used in audit lines only.
	method, host, path string
	// refusals counts the requests of the client beyond its limit of failures, if it has reached that.
	refusals uint32
}

// check returns the verdict on a request, and the places that hold its key.
func (a *Authorizer) check(r *request) (verifier.Verdict, verifier.Places) {
	start := a.Clock.Now()
	if r.requirements.preflight && isPreflight(r.confirmedMethod, r.request) {
		verdict := verifier.Verdict{Code: verifier.Preflight}
		a.observe(r, &verifier.Input{}, &verdict, start)
		return verdict, allPlaces
	}
	in := verifier.Input{Scopes: r.requirements.scopes(), Account: r.requirements.account, ExternalID: r.requirements.externalID}
	found := a.Extractor.Extract(r.request)
	var places verifier.Places
	in.Key, places, in.ExtractResult = a.Clusters.Choose(&found)
	in.Client = a.ClientIP.Resolve(r.peer, a.AddressHeader.Hops(r.request))
	in.Claim = a.AccountHeader.claim(r.request)
	return a.decide(r, &in, start), places
}

// allPlaces contains every place that may hold a key. After a preflight all of them are removed, so that no unchecked
// credential reaches the application.
const allPlaces = ^verifier.Places(0)

// decide returns the verdict on an input received at start, and reports the verdict to the observers and the audit.
func (a *Authorizer) decide(r *request, in *verifier.Input, start time.Time) verifier.Verdict {
	verdict := a.Clusters.Check(in, start)
	if verdict.Code == verifier.Unknown {
		a.limitFailures(r, in, &verdict, start)
	}
	a.observe(r, in, &verdict, start)
	return verdict
}

// limitFailures refuses an unknown key with another code if the client has sent too many of them. A known key is never
// refused for this: other clients may have the same address.
func (a *Authorizer) limitFailures(r *request, in *verifier.Input, verdict *verifier.Verdict, now time.Time) {
	if r.refusals = a.Failures.Fail(in.Client, now); r.refusals > 0 {
		verdict.Code = verifier.TooManyFailures
	}
}

// observe reports a verdict to the observers and the audit.
func (a *Authorizer) observe(r *request, in *verifier.Input, verdict *verifier.Verdict, start time.Time) {
	took := a.Clock.Since(start)
	for _, observe := range a.Observers {
		observe(r.protocol, *verdict, took)
	}
	a.Audit.record(r, in, verdict)
}

// trimQuery returns the part of a URL before the question mark, query the part after it. Both ignore a fragment.
func trimQuery(url string) string {
	url, _, _ = strings.Cut(url, "#")
	path, _, _ := strings.Cut(url, "?")
	return path
}

func queryOf(url string) string {
	url, _, _ = strings.Cut(url, "#")
	_, query, _ := strings.Cut(url, "?")
	return query
}
