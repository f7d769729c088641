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

// Protocol is where a question was asked.
type Protocol uint8

// The faces.
const (
	ExtAuthz Protocol = iota
	ForwardAuth
	Verify
	Explain

	protocolCount
)

var protocolNames = [protocolCount]string{"ext_authz", "forward_auth", "verify", "explain"}

// String is the face's name in metrics and audit lines.
func (p Protocol) String() string { return protocolNames[p] }

// Protocols are all faces.
func Protocols() []Protocol { return []Protocol{ExtAuthz, ForwardAuth, Verify, Explain} }

// Observer is told of each verdict. It must not wait for anything.
type Observer func(protocol Protocol, verdict verifier.Verdict, took time.Duration)

// AuthorizerOptions say how a door decides and answers.
type AuthorizerOptions struct {
	Extractor *verifier.KeyExtractor
	ClientIP  *verifier.ClientIPResolver
	// AddressHeader is where trusted proxies say whom they forward for; the zero value is X-Forwarded-For.
	AddressHeader verifier.AddressHeader
	Index         *verifier.Index
	Clock         clock.PassiveClock
	// AccountHeader is the request header that must identify the key's account.
	AccountHeader AccountHeader
	// Realm is what a 401 says the key is for.
	Realm string
	// DenyStatusOnly answers with 401 and 403 alone.
	DenyStatusOnly bool
	// IgnoreExtensions are the names of Envoy's context extensions that are not the verifier's.
	IgnoreExtensions []string
	// Logger receives what an operator has to know about the configuration of gateways.
	Logger logr.Logger
	// Audit writes lines about verdicts; nil: nobody does.
	Audit *Audit
	// Observers are told of each verdict.
	Observers []Observer
}

// Authorizer is what all faces ask.
type Authorizer struct {
	AuthorizerOptions
	denials denials
	places  []verifier.Place
}

// NewAuthorizer returns a door.
func NewAuthorizer(o AuthorizerOptions) (*Authorizer, error) {
	places := o.Extractor.Places()
	for _, p := range places {
		if slices.Contains(lowerIdentityHeaders[:], p.Header) {
			return nil, fmt.Errorf("header:%s says who came in: give another header for the key", p.Header)
		}
	}
	return &Authorizer{AuthorizerOptions: o, denials: newDenials(o.Realm, o.DenyStatusOnly), places: places}, nil
}

// request is a request at the door.
type request struct {
	protocol Protocol
	request  verifier.Request
	// peer is who the face's own peer says that the request came from, or that peer itself.
	peer netip.Addr
	// requirements are what the route requires.
	requirements Requirements
	// confirmedMethod is the method of the client's request, if nothing that the gateway says contradicts it.
	confirmedMethod string
	// method, host and path are for the audit.
	method, host, path string
}

// check gives the verdict on a request, and says which places hold its key.
func (a *Authorizer) check(r *request) (verifier.Verdict, verifier.Places) {
	start := a.Clock.Now()
	if r.requirements.preflight && isPreflight(r.confirmedMethod, r.request) {
		verdict := verifier.Verdict{Code: verifier.Preflight}
		a.observe(r, &verifier.Input{}, &verdict, start)
		return verdict, allPlaces
	}
	in := verifier.Input{Scopes: r.requirements.scopes, Account: r.requirements.account, ExternalID: r.requirements.externalID}
	found := a.Extractor.Extract(r.request)
	var places verifier.Places
	in.Key, places, in.ExtractResult = a.Index.Choose(&found)
	in.Client = a.ClientIP.Resolve(r.peer, a.AddressHeader.Hops(r.request))
	in.Claim = a.AccountHeader.claim(r.request)
	return a.decide(r, &in, start), places
}

// allPlaces are all places where a key may be: nothing in them reaches an application without a verdict on it.
const allPlaces = ^verifier.Places(0)

// decide answers a question that came at a time, and tells those who watch.
func (a *Authorizer) decide(r *request, in *verifier.Input, start time.Time) verifier.Verdict {
	verdict := a.Index.Check(in, start)
	a.observe(r, in, &verdict, start)
	return verdict
}

// observe tells those who watch of a verdict.
func (a *Authorizer) observe(r *request, in *verifier.Input, verdict *verifier.Verdict, start time.Time) {
	took := a.Clock.Since(start)
	for _, observe := range a.Observers {
		observe(r.protocol, *verdict, took)
	}
	a.Audit.record(r, in, verdict)
}

// beforeQuery and query are what comes before and after a URL's question mark. A fragment is no part of a request.
func beforeQuery(url string) string {
	url, _, _ = strings.Cut(url, "#")
	path, _, _ := strings.Cut(url, "?")
	return path
}

func query(url string) string {
	url, _, _ = strings.Cut(url, "#")
	_, query, _ := strings.Cut(url, "?")
	return query
}
