// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func digestFor(n int) digest {
	return sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

func credentialWith(d digest) *credential {
	return &credential{credentialContent: credentialContent{digest: d}}
}

// TestTable_BehavesLikeAMap applies the same operations to a table and to a map. A small range of hashes causes many
// collisions.
func TestTable_BehavesLikeAMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		places := rapid.SampledFrom([]uint64{1, 3, 1 << 20}).Draw(t, "places")
		hash := func(d *digest) uint64 { return binary.LittleEndian.Uint64(d[:]) % places << 20 }
		var tested table[credential]
		tested.init(func(c *credential) uint64 { return hash(&c.digest) })
		model := map[digest]*credential{}
		for range rapid.IntRange(0, 1500).Draw(t, "steps") {
			d := digestFor(rapid.IntRange(0, 700).Draw(t, "digest"))
			is := func(c *credential) bool { return c.digest == d }
			if rapid.IntRange(0, 2).Draw(t, "what") > 0 {
				c := credentialWith(d)
				tested.store(c, is)
				model[d] = c
			} else {
				tested.delete(hash(&d), is)
				delete(model, d)
			}
		}
		for n := range 700 {
			d := digestFor(n)
			slot, found := tested.search(hash(&d), func(c *credential) bool { return c.digest == d })
			if got := slot.Load(); got != model[d] || found != (got != nil) {
				t.Fatalf("digest %d: got %p, %t, want %p", n, got, found, model[d])
			}
		}
		if tested.live != len(model) {
			t.Fatalf("the table holds %d credentials, want %d", tested.live, len(model))
		}
	})
}

// TestDigestTable_FindsAll compares the table of digests with a map.
func TestDigestTable_FindsAll(t *testing.T) {
	t.Parallel()
	table, model := newDigestTable(), map[digest]*credential{}
	for n := range 5000 {
		c := credentialWith(digestFor(n % 3000))
		table.put(c)
		model[c.digest] = c
		if n%3 == 0 {
			removed := digestFor(n / 2)
			table.remove(&removed)
			delete(model, removed)
		}
	}
	for n := range 4000 {
		d := digestFor(n)
		if got := table.find(&d); got != model[d] {
			t.Fatalf("digest %d: got %p, want %p", n, got, model[d])
		}
	}
}

// Users choose the digests that they import. Digests that differ in their last bytes only are spread over the table.
func TestDigestTable_ChosenDigestsDoNotCollide(t *testing.T) {
	t.Parallel()
	table := newDigestTable()
	const count = 20_000
	for n := range count {
		var d digest
		binary.LittleEndian.PutUint64(d[len(d)-8:], uint64(n))
		table.put(credentialWith(d))
	}
	longest, run := 0, 0
	for i := range *table.slots.Load() {
		if run++; (*table.slots.Load())[i].Load() == nil {
			run = 0
		}
		longest = max(longest, run)
	}
	if longest > count/20 {
		t.Errorf("%d entries follow each other without a gap", longest)
	}
}

// Readers find a credential that stays in the table at any time during concurrent updates.
func TestTable_ReadersSeeEveryEntry(t *testing.T) {
	t.Parallel()
	table := newDigestTable()
	stays := digestFor(-1)
	table.put(credentialWith(stays))
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				if table.find(&stays) == nil {
					t.Error("a credential in the table was not found")
					return
				}
				if d := digestFor(n); table.find(&d) == table.tombstone {
					t.Error("a credential that was removed was found")
					return
				}
			}
		})
	}
	for round := range 5 {
		for n := range 3000 {
			table.put(credentialWith(digestFor(n)))
		}
		for n := range 3000 - round {
			d := digestFor(n)
			table.remove(&d)
		}
	}
	close(done)
	readers.Wait()
}

// Adding and removing credentials, like rotations do for years, does not grow the table.
func TestTable_DoesNotGrowWithChurn(t *testing.T) {
	t.Parallel()
	table := newDigestTable()
	for n := range 200_000 {
		table.put(credentialWith(digestFor(n)))
		if n >= 100 {
			d := digestFor(n - 100)
			table.remove(&d)
		}
	}
	if slots := len(*table.slots.Load()); slots > 4*minTableSize {
		t.Errorf("100 credentials take %d slots", slots)
	}
}

// The replacement of an entry does not resize the table, which takes long for a large one: verdicts may wait for it.
func TestTable_ReplacementsDoNotResize(t *testing.T) {
	t.Parallel()
	table := newDigestTable()
	for n := range minTableSize / 2 {
		table.put(credentialWith(digestFor(n)))
	}
	before := table.slots.Load()
	c := credentialWith(digestFor(1))
	table.put(c)
	if table.slots.Load() != before || table.find(&c.digest) != c {
		t.Error("the entry was not replaced in place")
	}
}
