// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/internal/usage"
)

// Usage returns the usage of all credentials that were accepted or refused at or after since.
func (x *Index) Usage(since, now time.Time) []usage.KeyUsage {
	var list []usage.KeyUsage
	for _, k := range x.snapshot() {
		var used []usage.CredentialUsage
		for i := range k.credentials() {
			c := &k.credentials()[i]
			accepted, refused := clampMinute(&c.lastAccepted, unixMinute(now)), clampMinute(&c.lastRefused, unixMinute(now))
			if last := max(accepted, refused); last == 0 || last < unixMinute(since) {
				continue
			}
			used = append(used, usage.CredentialUsage{
				ID: c.id(), LastUsed: minuteTime(accepted), LastRefused: minuteTime(refused), Counts: c.counts(),
			})
		}
		if len(used) > 0 {
			list = append(list, usage.KeyUsage{Namespace: k.namespace().name, Name: k.name(), UID: k.uid(), Credentials: used})
		}
	}
	return list
}

// snapshot returns all keys. It blocks writers only while it copies pointers.
func (x *Index) snapshot() []*key {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := make([]*key, 0, x.names.live)
	x.names.forEach(func(k *key) { list = append(list, k) })
	return list
}

// Refused returns the UIDs of the keys whose credentials are all refused at the given time, regardless of the request.
// This includes keys that are not in the index.
func (x *Index) Refused(list []usage.KeyReference, now time.Time) []types.UID {
	x.mu.Lock()
	defer x.mu.Unlock()
	var refused []types.UID
	for _, r := range list {
		if !x.accepts(r, now) {
			refused = append(refused, r.UID)
		}
	}
	return refused
}

// Known returns the credentials in list that the index holds.
func (x *Index) Known(list []usage.CredentialReference) []usage.CredentialReference {
	x.mu.Lock()
	defer x.mu.Unlock()
	var known []usage.CredentialReference
	for _, r := range list {
		if k := x.keyOf(r.KeyReference); k != nil && k.hasID(r.ID) {
			known = append(known, r)
		}
	}
	return known
}

// keyOf returns the key that a reference names, or nil if the index does not hold it.
func (x *Index) keyOf(r usage.KeyReference) *key {
	k := x.find(r.Namespace, r.Name)
	if k == nil || k.uid() != string(r.UID) {
		return nil
	}
	return k
}

// hasID reports whether a key has a credential with a public ID.
func (k *key) hasID(id string) bool {
	for i := range k.credentials() {
		if k.credentials()[i].id() == id {
			return true
		}
	}
	return false
}

// accepts reports whether a key has a credential that some request could be accepted with. If another key has the same
// digest, in this cluster or in another, the record that verdicts use decides.
func (x *Index) accepts(r usage.KeyReference, now time.Time) bool {
	k := x.keyOf(r)
	if k == nil {
		return false
	}
	for i := range k.credentials() {
		if known := x.holder(&k.credentials()[i].digest); known != nil && known.isUsable(now) {
			return true
		}
	}
	return false
}

// isUsable reports whether a credential passes the checks that do not depend on the request.
func (c *credential) isUsable(now time.Time) bool {
	p := c.key().account().policy.Load()
	for check := CheckState; check <= CheckAdmitted; check++ {
		if c.check(check, p, nil, now) != Valid {
			return false
		}
	}
	return true
}
