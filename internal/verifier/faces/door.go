// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package faces

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

// Face is where a question was asked.
type Face uint8

// The faces.
const (
	ExtAuthz Face = iota
	ForwardAuth
	Verify
	Explain

	faceCount
)

var faceNames = [faceCount]string{"ext_authz", "forward_auth", "verify", "explain"}

// String is the face's name in metrics and audit lines.
func (f Face) String() string { return faceNames[f] }

// Faces are all faces.
func Faces() []Face { return []Face{ExtAuthz, ForwardAuth, Verify, Explain} }

// Observer is told of each verdict. It must not wait for anything.
type Observer func(face Face, verdict verifier.Verdict, took time.Duration)

// DoorOptions say how a door decides and answers.
type DoorOptions struct {
	Finder  *verifier.Finder
	Clients *verifier.Clients
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

// Door is what all faces ask.
type Door struct {
	DoorOptions
	denials denials
	places  []verifier.Place
}

// NewDoor returns a door.
func NewDoor(o DoorOptions) (*Door, error) {
	places := o.Finder.Places()
	for _, p := range places {
		if slices.Contains(lowerIdentityHeaders[:], p.Header) {
			return nil, fmt.Errorf("header:%s says who came in: give another header for the key", p.Header)
		}
	}
	return &Door{DoorOptions: o, denials: newDenials(o.Realm, o.DenyStatusOnly), places: places}, nil
}

// visit is a request at the door.
type visit struct {
	face    Face
	request verifier.Request
	// peer is who the face's own peer says that the request came from, or that peer itself.
	peer netip.Addr
	// needs are what the route requires.
	needs Requirements
	// certainMethod is the method of the client's request, if nothing that the gateway says contradicts it.
	certainMethod string
	// method, host and path are for the audit.
	method, host, path string
}

// check gives the verdict on a request, and says which places hold its key.
func (d *Door) check(v *visit) (verifier.Verdict, verifier.Places) {
	start := d.Clock.Now()
	if v.needs.preflight && isPreflight(v.certainMethod, v.request) {
		verdict := verifier.Verdict{Code: verifier.Preflight}
		d.tell(v, &verifier.Question{}, &verdict, start)
		return verdict, allPlaces
	}
	q := verifier.Question{Scopes: v.needs.scopes, Account: v.needs.account, ExternalID: v.needs.externalID}
	found := d.Finder.Find(v.request)
	var places verifier.Places
	q.Key, places, q.Found = d.Index.Choose(&found)
	q.Client = d.Clients.Find(v.peer, d.AddressHeader.Hops(v.request))
	q.Claim = d.AccountHeader.claim(v.request)
	return d.decide(v, &q, start), places
}

// allPlaces are all places where a key may be: nothing in them reaches an application without a verdict on it.
const allPlaces = ^verifier.Places(0)

// decide answers a question that came at a time, and tells those who watch.
func (d *Door) decide(v *visit, q *verifier.Question, start time.Time) verifier.Verdict {
	verdict := d.Index.Decide(q, start)
	d.tell(v, q, &verdict, start)
	return verdict
}

// tell tells those who watch of a verdict.
func (d *Door) tell(v *visit, q *verifier.Question, verdict *verifier.Verdict, start time.Time) {
	took := d.Clock.Since(start)
	for _, observe := range d.Observers {
		observe(v.face, *verdict, took)
	}
	d.Audit.record(v, q, verdict)
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
