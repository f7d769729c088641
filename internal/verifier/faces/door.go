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
	Index   *verifier.Index
	Clock   clock.PassiveClock
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
}

// mostSources is how many places for keys there may be.
const mostSources = 64

// NewDoor returns a door.
func NewDoor(o DoorOptions) (*Door, error) {
	if n := len(o.Finder.Headers()) + len(o.Finder.QueryParameters()) + len(o.Finder.Cookies()); n > mostSources {
		return nil, fmt.Errorf("there are %d places for a key: give at most %d", n, mostSources)
	}
	for _, name := range o.Finder.Headers() {
		if slices.Contains(lowerIdentityHeaders[:], name) {
			return nil, fmt.Errorf("header:%s says who came in: give another header for the key", name)
		}
	}
	return &Door{DoorOptions: o, denials: newDenials(o.Realm, o.DenyStatusOnly)}, nil
}

// visit is a request at the door.
type visit struct {
	face    Face
	request verifier.Request
	// peer is who the face's own peer says that the request came from, or that peer itself.
	peer netip.Addr
	// needs are what the route requires.
	needs Requirements
	// method, host and path are for the audit.
	method, host, path string
}

// check gives the verdict on a request.
func (d *Door) check(v *visit) verifier.Verdict {
	start := d.Clock.Now()
	q := verifier.Question{Scopes: v.needs.scopes, Account: v.needs.account, ExternalID: v.needs.externalID}
	q.Key, q.Found = d.Finder.Find(v.request)
	q.Client = d.Clients.Find(v.peer, v.request.Header("X-Forwarded-For", "x-forwarded-for"))
	q.Claim = d.AccountHeader.claim(v.request)
	return d.decide(v, &q, start)
}

// decide answers a question that came at a time, and tells those who watch.
func (d *Door) decide(v *visit, q *verifier.Question, start time.Time) verifier.Verdict {
	verdict := d.Index.Decide(q, start)
	took := d.Clock.Since(start)
	for _, observe := range d.Observers {
		observe(v.face, verdict, took)
	}
	d.Audit.record(v, q, &verdict)
	return verdict
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
