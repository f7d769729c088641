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

// TestTable_BehavesLikeAMap applies the same operations to a table and to a map. A small range of hashes causes many
// collisions.
func TestTable_BehavesLikeAMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		places := rapid.SampledFrom([]int{1, 3, 1 << 20}).Draw(t, "places")
		at := func(n int) digest {
			d := digestFor(n)
			binary.LittleEndian.PutUint64(d[:], uint64(n%places))
			return d
		}
		table, model := newDigestTable(), map[digest]*credential{}
		for range rapid.IntRange(0, 1500).Draw(t, "steps") {
			d := at(rapid.IntRange(0, 700).Draw(t, "digest"))
			if rapid.IntRange(0, 2).Draw(t, "what") > 0 {
				c := &credential{digest: d}
				table.put(c)
				model[d] = c
			} else {
				table.remove(&d)
				delete(model, d)
			}
		}
		for n := range 700 {
			d := at(n)
			if got := table.find(&d); got != model[d] {
				t.Fatalf("digest %d: got %p, want %p", n, got, model[d])
			}
		}
		if table.live != len(model) {
			t.Fatalf("the table holds %d credentials, want %d", table.live, len(model))
		}
	})
}

// Readers find a credential that stays in the table at any time during concurrent updates.
func TestTable_ReadersSeeEveryEntry(t *testing.T) {
	t.Parallel()
	table := newDigestTable()
	stays := digestFor(-1)
	table.put(&credential{digest: stays})
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
			table.put(&credential{digest: digestFor(n)})
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
		table.put(&credential{digest: digestFor(n)})
		if n >= 100 {
			d := digestFor(n - 100)
			table.remove(&d)
		}
	}
	if slots := len(*table.slots.Load()); slots > 4*minTableSize {
		t.Errorf("100 credentials take %d slots", slots)
	}
}
