// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
)

// digest holds the SHA-256 digest of a complete key.
type digest [sha256.Size]byte

// table maps digests to credentials. Readers take no lock and allocate nothing. There is one writer at a time. It is a
// hash table with open addressing. Digests are uniformly distributed, so the first bytes serve as the hash, and finding
// keys that collide takes brute force.
type table struct {
	slots atomic.Pointer[[]atomic.Pointer[credential]]
	// used counts the slots that are not empty, including tombstones. live counts the credentials.
	used, live int
}

// tombstone marks the slot of a removed credential, so that searches continue past it.
var tombstone = &credential{}

const minTableSize = 1 << 8

func newTable() *table {
	t := &table{}
	t.resize(minTableSize)
	return t
}

// find returns the credential with a digest, or nil. The comparison need not be constant-time: keys have 122 bits of
// entropy or more, and a client cannot choose a key whose digest shares a prefix with another digest.
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

// maskOf returns the mask that reduces a hash to an index of slots, whose number is a power of two.
func maskOf(slots []atomic.Pointer[credential]) uint64 {
	return uint64(len(slots) - 1) //nolint:gosec // there is at least one slot
}

// hashOf returns the hash of a digest.
func hashOf(d *digest) uint64 { return binary.LittleEndian.Uint64(d[:]) }

// put adds a credential, or replaces the one with the same digest.
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

// remove removes the credential with a digest.
func (t *table) remove(d *digest) {
	if slot, found := t.findSlot(d); found {
		slot.Store(tombstone)
		t.live--
	}
}

// findSlot returns the slot of a digest, or the empty slot that it would be stored in.
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

// resize copies the credentials to a new array whose size is a power of two. Readers use the old array until the new
// one is complete.
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

// forEach calls visit with each credential.
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
