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
	// stagedPollTimeout is the time that one replica has to report which staged credentials it knows.
	stagedPollTimeout = time.Second
	// stagedCredentialLifetime is how long verifiers are polled for a staged credential, and how long the result is
	// kept. A rotation waits for a shorter time.
	stagedCredentialLifetime = time.Minute
)

// credentialPropagation keeps the staged credentials that some verifier may not know yet, and polls the verifiers for
// them.
type credentialPropagation struct {
	client.Reader
	clock     clock.PassiveClock
	verifiers Verifiers

	mu    sync.Mutex
	waits map[types.UID]*stagedCredential
	// triggered receives a value when there is a reason to poll at once.
	triggered trigger
	// enqueueCh receives the keys whose staged credential all verifiers know.
	enqueueCh chan event.GenericEvent
}

// stagedCredential holds a staged credential, and whether all verifiers reported that they know it.
type stagedCredential struct {
	credential usage.CredentialReference
	since      time.Time
	known      bool
}

func newCredentialPropagation(reader client.Reader, now clock.PassiveClock, v Verifiers) *credentialPropagation {
	return &credentialPropagation{
		Reader: reader, clock: now, verifiers: v, waits: map[types.UID]*stagedCredential{},
		triggered: newTrigger(), enqueueCh: make(chan event.GenericEvent),
	}
}

// done reports whether every live verifier knows the credential that the status of a key staged last. If not, it
// triggers a poll, and the key is enqueued once all verifiers know the credential. Without verifiers it returns true.
func (p *credentialPropagation) done(key *v1alpha1.APIKey) bool {
	next := keys.LastStaged(&key.Status)
	if p == nil || next == nil {
		return true
	}
	reference := usage.CredentialReference{
		KeyReference: usage.KeyReference{Namespace: key.Namespace, Name: key.Name, UID: key.UID},
		ID:           next.ID,
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.waits[key.UID]; w != nil && w.credential == reference {
		return w.known
	}
	p.waits[key.UID] = &stagedCredential{credential: reference, since: p.clock.Now()}
	p.triggered.fire()
	return false
}

// forget drops the staged credential of a key.
func (p *credentialPropagation) forget(uid types.UID) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waits, uid)
}

// run polls the verifiers for as long as this manager leads.
func (p *credentialPropagation) run(ctx context.Context) error {
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithName("propagation"))
	pollWhileInProgress(ctx, p.clock, p.triggered, p.poll)
	return nil
}

// poll polls all replicas once, and reports whether to poll again soon.
func (p *credentialPropagation) poll(ctx context.Context) bool {
	polled := p.unconfirmed()
	if len(polled) == 0 {
		return false
	}
	request := func(*replica) UsageRequest { return UsageRequest{Known: polled} }
	live, err := p.verifiers.poll(ctx, p, stagedPollTimeout, request, func(*replica) {})
	if err != nil {
		if ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "Could not poll the verifiers for staged credentials")
		}
		return true
	}
	done := p.record(polled, states(live))
	for _, c := range done {
		enqueue(ctx, p.enqueueCh, types.NamespacedName{Namespace: c.Namespace, Name: c.Name})
	}
	return len(done) < len(polled)
}

// unconfirmed returns the credentials to poll for, and drops those whose lifetime is over.
func (p *credentialPropagation) unconfirmed() []usage.CredentialReference {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []usage.CredentialReference
	for uid, w := range p.waits { // in random order, so that credentials that wait for long do not block the others
		switch {
		case p.clock.Since(w.since) > stagedCredentialLifetime:
			delete(p.waits, uid)
		case !w.known && len(list) < maxKeysPerPoll:
			list = append(list, w.credential)
		}
	}
	return list
}

// record records which of the polled credentials all live replicas know, and returns them.
func (p *credentialPropagation) record(polled []usage.CredentialReference, live []keys.Replica) []usage.CredentialReference {
	p.mu.Lock()
	defer p.mu.Unlock()
	var done []usage.CredentialReference
	for _, credential := range polled {
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
