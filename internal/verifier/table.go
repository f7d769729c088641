// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto/sha256"
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// digest holds the SHA-256 digest of a complete key.
type digest [sha256.Size]byte

// table is a hash table with open addressing. Readers take no lock and allocate nothing. There is one writer at a time.
type table[T any] struct {
	slots atomic.Pointer[[]atomic.Pointer[T]]
	// used counts the slots that are not empty, including tombstones. live counts the entries.
	used, live int
	hash       func(*T) uint64
	// tombstone marks the slot of a removed entry, so that searches continue past it.
	tombstone *T
}

const minTableSize = 1 << 8

// init prepares an empty table.
func (t *table[T]) init(hash func(*T) uint64) {
	empty := make([]atomic.Pointer[T], minTableSize)
	t.hash, t.tombstone = hash, new(T)
	t.slots.Store(&empty)
}

// slotOf returns the index at which the search for a hash begins.
func slotOf(hash uint64, slots int) int {
	i, _ := bits.Mul64(hash, uint64(slots)) //nolint:gosec // not negative
	return int(i)                           //nolint:gosec // less than slots
}

// nextSlot returns the index at which a search continues.
func nextSlot(i, slots int) int {
	if i++; i < slots {
		return i
	}
	return 0
}

// search returns the slot of the entry with a hash for which matches returns true, or the empty slot that it would be
// stored in.
func (t *table[T]) search(hash uint64, matches func(*T) bool) (slot *atomic.Pointer[T], found bool) {
	slots := *t.slots.Load()
	for i := slotOf(hash, len(slots)); ; i = nextSlot(i, len(slots)) {
		switch v := slots[i].Load(); {
		case v == nil:
			return &slots[i], false
		case v != t.tombstone && matches(v):
			return &slots[i], true
		}
	}
}

// store adds an entry, or replaces the one for which matches returns true.
func (t *table[T]) store(v *T, matches func(*T) bool) {
	slot, found := t.search(t.hash(v), matches)
	t.storeAt(slot, found, v, matches)
}

// storeAt stores an entry in the slot that search returned for it.
func (t *table[T]) storeAt(slot *atomic.Pointer[T], found bool, v *T, matches func(*T) bool) {
	if found {
		slot.Store(v) // at once: verdicts on the entry may be waiting, see Index.recordReplaced
		return
	}
	if slots := *t.slots.Load(); (t.used+1)*2 > len(slots) {
		t.resize(max(minTableSize, (t.live+1)*3))
		slot, _ = t.search(t.hash(v), matches)
	}
	t.used++
	t.live++
	slot.Store(v)
}

// delete removes the entry with a hash for which matches returns true.
func (t *table[T]) delete(hash uint64, matches func(*T) bool) {
	if slot, found := t.search(hash, matches); found {
		slot.Store(t.tombstone)
		t.live--
	}
}

// resize copies the entries to a new array. Readers use the old array until the new one is complete.
func (t *table[T]) resize(size int) {
	next := make([]atomic.Pointer[T], size)
	t.forEach(func(v *T) {
		i := slotOf(t.hash(v), size)
		for next[i].Load() != nil {
			i = nextSlot(i, size)
		}
		next[i].Store(v)
	})
	t.used = t.live
	t.slots.Store(&next)
}

// forEach calls visit with each entry.
func (t *table[T]) forEach(visit func(*T)) {
	slots := *t.slots.Load()
	for i := range slots {
		if v := slots[i].Load(); v != nil && v != t.tombstone {
			visit(v)
		}
	}
}

// digestTable maps digests to credentials. Users choose the digests that they import, so the hash has a random seed.
type digestTable struct {
	table[credential]

	seed maphash.Seed
}

func newDigestTable() *digestTable {
	t := &digestTable{seed: maphash.MakeSeed()}
	t.init(func(c *credential) uint64 { return t.hashOf(&c.digest) })
	return t
}

func (t *digestTable) hashOf(d *digest) uint64 { return maphash.Bytes(t.seed, d[:]) }

// find returns the credential with a digest, or nil. The comparison need not be constant-time: keys have 122 bits of
// entropy or more, and a client cannot choose a key whose digest shares a prefix with another digest.
func (t *digestTable) find(d *digest) *credential {
	slots := *t.slots.Load()
	for i := slotOf(t.hashOf(d), len(slots)); ; i = nextSlot(i, len(slots)) {
		c := slots[i].Load()
		if c == nil || (c != t.tombstone && c.digest == *d) {
			return c
		}
	}
}

// put adds a credential, or replaces the one with the same digest.
func (t *digestTable) put(c *credential) {
	t.store(c, func(other *credential) bool { return other.digest == c.digest })
}

// putUnlessHeld adds a credential, or replaces the one of the same key with the same digest. It reports false, and changes nothing, if
// another key has a credential with that digest.
func (t *digestTable) putUnlessHeld(c *credential) bool {
	matches := func(other *credential) bool { return other.digest == c.digest }
	slot, found := t.search(t.hashOf(&c.digest), matches)
	if found && !slot.Load().key().isSameKey(c.key()) {
		return false
	}
	t.storeAt(slot, found, c, matches)
	return true
}

// remove removes the credential with a digest.
func (t *digestTable) remove(d *digest) {
	t.delete(t.hashOf(d), func(c *credential) bool { return c.digest == *d })
}

// nameTable maps names to keys. Users choose names, so the hash has a random seed. Only writers use it.
type nameTable struct {
	table[key]

	seed maphash.Seed
}

func newNameTable() *nameTable {
	t := &nameTable{seed: maphash.MakeSeed()}
	t.init(func(k *key) uint64 { return t.hashOf(k.namespace(), k.name()) })
	return t
}

func (t *nameTable) hashOf(n *namespace, name string) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	_, _ = h.WriteString(n.name) // never fails
	_ = h.WriteByte('/')
	_, _ = h.WriteString(name)
	return h.Sum64()
}

// find returns the key with a name, or nil.
func (t *nameTable) find(n *namespace, name string) *key {
	slot, _ := t.search(t.hashOf(n, name), func(k *key) bool { return k.isNamed(n, name) })
	return slot.Load()
}

// put adds a key, or replaces the one with the same name.
func (t *nameTable) put(k *key) {
	n, name := k.namespace(), k.name()
	t.store(k, func(other *key) bool { return other.isNamed(n, name) })
}

// remove removes a key.
func (t *nameTable) remove(k *key) {
	t.delete(t.hashOf(k.namespace(), k.name()), func(other *key) bool { return other == k })
}

func (k *key) isNamed(n *namespace, name string) bool { return k.name() == name && k.namespace() == n }
