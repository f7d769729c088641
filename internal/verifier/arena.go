// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import "unsafe"

// chunk holds the records of many keys, so that the garbage collector has few objects and few pointers to scan: all
// pointers are in owners, and it scans nothing after them. A record is written once and never moved, and its memory is
// never used for another one. It remains valid as long as anything refers to it.
//
// The records follow the chunk in the same allocation. A pointer to a record keeps the whole allocation in memory.
type chunk struct {
	// owners holds what the record at the same position shares with others.
	owners [maxRecords]owners
	// serial is unique in an index.
	serial uint64
	// records counts the records. used, live and capacity count words: those of all records, of the records in the index,
	// and those that there is room for. live includes the settings of these records, settings counts those of all records.
	records, used, live, settings, capacity uint32
	// isSealed reports whether no more records are added, isQueued whether the records in the index are about to be copied
	// to another chunk.
	isSealed, isQueued bool
}

// owners holds the objects that a key shares with others.
type owners struct {
	account *account
	profile *profile
}

const (
	wordSize  = 8
	chunkSize = 48 << 10
	// maxRecords limits the records in a chunk. Fewer records of typical size fill it.
	maxRecords = 256
	// headerSize is the size of a chunk without its records.
	headerSize = int(unsafe.Sizeof(chunk{}))
	chunkWords = (chunkSize - headerSize) / wordSize
	// largeWords is the capacity for a record that does not fit into a chunk. No valid APIKey has such a record.
	largeWords = 2 << 20 / wordSize
)

// newChunk returns an empty chunk for records of a size, which must be at most largeWords.
func newChunk(serial uint64, size uint32) *chunk {
	if size > uint32(chunkWords) {
		allocation := &struct {
			chunk
			words [largeWords]uint64
		}{}
		allocation.serial, allocation.capacity = serial, size
		return &allocation.chunk
	}
	allocation := &struct {
		chunk
		words [chunkWords]uint64
	}{}
	allocation.serial, allocation.capacity = serial, uint32(chunkWords)
	return &allocation.chunk
}

// at returns the record that begins at a word.
func (c *chunk) at(word uint32) *key {
	return (*key)(unsafe.Add(unsafe.Pointer(c), headerSize+int(word)*wordSize)) //nolint:gosec // callers keep within the allocation
}

// chunk returns the chunk that holds a record.
func (k *key) chunk() *chunk {
	return (*chunk)(unsafe.Add(unsafe.Pointer(k), -headerSize-int(k.word)*wordSize)) //nolint:gosec // the chunk precedes its records
}

// owners returns the objects that a key shares with others.
func (k *key) owners() *owners { return &k.chunk().owners[k.position] }

func (k *key) account() *account     { return k.owners().account }
func (k *key) profile() *profile     { return k.owners().profile }
func (k *key) namespace() *namespace { return k.profile().namespace }

// hasRoom reports whether the chunk has room for a record of a size.
func (c *chunk) hasRoom(size uint32) bool { return c.records < maxRecords && c.used+size <= c.capacity }

// isSparse reports whether less than half of the memory that a chunk keeps is in the index, and no more records are added.
// Old records keep their settings in memory, which may be many times as large as the records.
func (c *chunk) isSparse() bool { return c.isSealed && c.live > 0 && c.live*2 < c.used+c.settings }

// liveRecords returns the records of a chunk that are in the index.
func (c *chunk) liveRecords() []*key {
	var list []*key
	for word := uint32(0); word < c.used; {
		k := c.at(word)
		if k.isLive {
			list = append(list, k)
		}
		word += k.size()
	}
	return list
}

// arena adds records to chunks, one after the other. It refers to the last chunk only: records keep their chunks in memory.
type arena struct {
	current *chunk
}

// add copies a record, which has not been used yet. It returns the copy, and the chunk that is full now, or nil.
func (a *arena) add(record *key, serial *uint64) (k *key, full *chunk) {
	size := record.size()
	if a.current == nil || !a.current.hasRoom(size) {
		if full = a.current; full != nil {
			full.isSealed = true
		}
		*serial++
		a.current = newChunk(*serial, size)
	}
	c := a.current
	k = c.at(c.used)
	copy(k.words(size), record.words(size))
	k.word, k.position = uint16(c.used), uint8(c.records) //nolint:gosec // the constants limit both
	c.used += size
	c.records++
	return k, full
}
