// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"maps"
	"slices"
	"time"

	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// Usage are the keys that were used, or tried, since a time, as they are told of now.
func (x *Index) Usage(since, now time.Time) []keys.KeyUsage {
	var list []keys.KeyUsage
	for _, k := range x.snapshot() {
		used := keys.KeyUsage{Namespace: k.namespace.name, Name: k.name, UID: k.uid}
		for i := range k.credentials {
			c := &k.credentials[i]
			accepted, refused := settle(&c.usage.lastAccepted, minutes(now)), settle(&c.usage.lastRefused, minutes(now))
			if last := max(accepted, refused); last == 0 || last < minutes(since) {
				continue
			}
			used.Credentials = append(used.Credentials, keys.CredentialUsage{
				ID: c.id, LastUsed: instant(accepted), LastRefused: instant(refused), Counts: c.usage.counts(),
			})
		}
		if len(used.Credentials) > 0 {
			list = append(list, used)
		}
	}
	return list
}

// snapshot holds writers up only for as long as it takes to copy pointers.
func (x *Index) snapshot() []*key {
	x.mu.Lock()
	defer x.mu.Unlock()
	var list []*key
	for _, n := range x.namespaces {
		list = slices.AppendSeq(list, maps.Values(n.keys))
	}
	return list
}
