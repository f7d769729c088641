// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
)

// digest is the SHA-256 of a whole key.
type digest [sha256.Size]byte

// table finds a credential by its digest. Readers take no lock and allocate nothing; there is one writer at a time. It is
// a hash table with open addressing: a digest is evenly spread already, so its first bytes are its place, and nobody can
// find keys that collide any faster than by trying.
type table struct {
	slots atomic.Pointer[[]atomic.Pointer[credential]]
	// used counts the slots that are not empty, gone ones included.
	used, live int
}

// tombstone marks the slot of a credential that was removed, so that those behind it are still found.
var tombstone = &credential{}

const minTableSize = 1 << 8

func newTable() *table {
	t := &table{}
	t.resize(minTableSize)
	return t
}

// find returns the credential with a digest; nil: there is none. Two digests are compared in constant time or not, all
// the same: they are of keys of 122 bits or more, and nobody can choose one that shares a beginning with another.
func (t *table) find(d *digest) *credential {
	slots := *t.slots.Load()
	mask := maskOf(slots)
	for i := hashOf(d) & mask; ; i = (i + 1) & mask {
		c := slots[i].Load()
		if c == nil || (c != tombstone && c.digest == *d) {
			return c
		}
	}
}

// maskOf keeps places within so many slots, which are a power of two.
func maskOf(slots []atomic.Pointer[credential]) uint64 {
	return uint64(len(slots) - 1) //nolint:gosec // there are slots
}

func hashOf(d *digest) uint64 { return binary.LittleEndian.Uint64(d[:]) }

// put enters a credential, in place of the one with the same digest if there is one.
func (t *table) put(c *credential) {
	if slots := *t.slots.Load(); (t.used+1)*2 > len(slots) {
		t.resize(max(minTableSize, t.live*3))
	}
	slot, found := t.findSlot(&c.digest)
	if !found {
		t.used++
		t.live++
	}
	slot.Store(c)
}

// remove takes out the credential with a digest.
func (t *table) remove(d *digest) {
	if slot, found := t.findSlot(d); found {
		slot.Store(tombstone)
		t.live--
	}
}

// findSlot is where a digest is, or where it would go.
func (t *table) findSlot(d *digest) (slot *atomic.Pointer[credential], found bool) {
	slots := *t.slots.Load()
	mask := maskOf(slots)
	for i := hashOf(d) & mask; ; i = (i + 1) & mask {
		switch c := slots[i].Load(); {
		case c == nil:
			return &slots[i], false
		case c != tombstone && c.digest == *d:
			return &slots[i], true
		}
	}
}

// resize moves the credentials to a new table of the next power of two. Readers use the old one until it is ready.
func (t *table) resize(atLeast int) {
	size := minTableSize
	for size < atLeast {
		size *= 2
	}
	next := make([]atomic.Pointer[credential], size)
	mask := maskOf(next)
	t.forEach(func(c *credential) {
		i := hashOf(&c.digest) & mask
		for next[i].Load() != nil {
			i = (i + 1) & mask
		}
		next[i].Store(c)
	})
	t.used = t.live
	t.slots.Store(&next)
}

// forEach visits each credential.
func (t *table) forEach(visit func(*credential)) {
	slots := t.slots.Load()
	if slots == nil {
		return
	}
	for i := range *slots {
		if c := (*slots)[i].Load(); c != nil && c != tombstone {
			visit(c)
		}
	}
}
