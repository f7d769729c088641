// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/usage"
)

const (
	// stagedPollTimeout is how long one replica may take to answer which staged credentials it knows.
	stagedPollTimeout = time.Second
	// stagedCredentialLifetime is how long verifiers are asked about a staged credential, and how long the answer is kept. A rotation
	// waits less than that.
	stagedCredentialLifetime = time.Minute
)

// credentialPropagation finds out whether every live verifier knows the credentials that are staged.
type credentialPropagation struct {
	client.Reader
	clock     clock.PassiveClock
	verifiers Verifiers

	mu    sync.Mutex
	waits map[types.UID]*stagedCredential
	// triggered says that there is a reason to ask at once.
	triggered chan struct{}
	// enqueueCh takes the keys whose credential all verifiers know.
	enqueueCh chan event.GenericEvent
}

// stagedCredential is a credential that verifiers are to know.
type stagedCredential struct {
	credential usage.CredentialReference
	since      time.Time
	known      bool
}

func newCredentialPropagation(reader client.Reader, now clock.PassiveClock, v Verifiers) *credentialPropagation {
	return &credentialPropagation{
		Reader: reader, clock: now, verifiers: v, waits: map[types.UID]*stagedCredential{},
		triggered: make(chan struct{}, 1), enqueueCh: make(chan event.GenericEvent),
	}
}

// done reports whether every live verifier knows the credential that a key's status staged last. If not, verifiers are asked,
// and the key is enqueued once they all know it. Without verifiers there is nothing to wait for.
func (p *credentialPropagation) done(key *v1alpha1.APIKey) bool {
	next := keys.LastStaged(&key.Status)
	if p == nil || next == nil {
		return true
	}
	reference := usage.CredentialReference{KeyReference: usage.KeyReference{Namespace: key.Namespace, Name: key.Name, UID: key.UID}, ID: next.ID}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.waits[key.UID]; w != nil && w.credential == reference {
		return w.known
	}
	p.waits[key.UID] = &stagedCredential{credential: reference, since: p.clock.Now()}
	p.trigger()
	return false
}

// forget drops what is known of a key.
func (p *credentialPropagation) forget(uid types.UID) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waits, uid)
}

func (p *credentialPropagation) trigger() {
	select {
	case p.triggered <- struct{}{}:
	default:
	}
}

// run asks verifiers for as long as this manager leads.
func (p *credentialPropagation) run(ctx context.Context) error {
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithName("propagation"))
	pollWhileInProgress(ctx, p.clock, p.triggered, p.poll)
	return nil
}

// poll asks all replicas once, and reports whether to ask again soon.
func (p *credentialPropagation) poll(ctx context.Context) bool {
	awaited := p.unconfirmed()
	if len(awaited) == 0 {
		return false
	}
	question := func(*replica) UsageRequest { return UsageRequest{Known: awaited} }
	live, err := p.verifiers.poll(ctx, p, stagedPollTimeout, question, func(*replica) {})
	if err != nil {
		if ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "Could not ask verifiers which credentials they know")
		}
		return true
	}
	states := make([]keys.Replica, len(live))
	for i := range live {
		states[i] = live[i].state()
	}
	done := p.record(awaited, states)
	for _, c := range done {
		enqueue(ctx, p.enqueueCh, types.NamespacedName{Namespace: c.Namespace, Name: c.Name})
	}
	return len(done) < len(awaited)
}

// unconfirmed returns the credentials to ask about, and drops those that nobody waits for any more.
func (p *credentialPropagation) unconfirmed() []usage.CredentialReference {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []usage.CredentialReference
	for uid, w := range p.waits { // in no order, so that credentials that wait for long keep no others waiting
		switch {
		case p.clock.Since(w.since) > stagedCredentialLifetime:
			delete(p.waits, uid)
		case !w.known && len(list) < maxKeysPerPoll:
			list = append(list, w.credential)
		}
	}
	return list
}

// record keeps which credentials all live replicas know by now, and returns those.
func (p *credentialPropagation) record(asked []usage.CredentialReference, live []keys.Replica) []usage.CredentialReference {
	p.mu.Lock()
	defer p.mu.Unlock()
	var done []usage.CredentialReference
	for _, credential := range asked {
		if !keys.KnownByAll(credential, live) {
			continue
		}
		done = append(done, credential)
		if w := p.waits[credential.UID]; w != nil && w.credential == credential {
			w.known = true
		}
	}
	return done
}
