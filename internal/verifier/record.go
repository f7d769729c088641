// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"math"
	"unsafe"
)

// The record of a key contains no pointers. It begins with a key, followed by its credentials and by its text: the name,
// the label, the UID unless it is in key.uuid, and the IDs of the credentials.

const (
	keySize        = int(unsafe.Sizeof(key{}))
	credentialSize = int(unsafe.Sizeof(credential{}))
)

// The sizes must be multiples of a word. An array of a negative length does not compile.
var (
	_ [-(keySize % wordSize)]struct{}
	_ [-(credentialSize % wordSize)]struct{}
)

// size returns the number of words of the record.
func (k *key) size() uint32 {
	return uint32((k.textStart() + k.textLength() + wordSize - 1) / wordSize) //nolint:gosec // at most largeWords
}

// words returns the record as words. size must be the size of the record, or of the one to be written.
func (k *key) words(size uint32) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(k)), size) //nolint:gosec // callers keep within the allocation
}

// credentials returns the credentials of a key.
func (k *key) credentials() []credential {
	if k.credentialCount == 0 {
		return nil // a pointer to the end of an allocation would be invalid
	}
	first := (*credential)(unsafe.Add(unsafe.Pointer(k), keySize)) //nolint:gosec // the credentials follow the key
	return unsafe.Slice(first, int(k.credentialCount))             //nolint:gosec // see newRecord
}

// key returns the key of a credential.
func (c *credential) key() *key {
	return (*key)(unsafe.Add(unsafe.Pointer(c), -keySize-int(c.position)*credentialSize)) //nolint:gosec // the key precedes its credentials
}

func (k *key) textStart() int { return keySize + int(k.credentialCount)*credentialSize }

func (k *key) textLength() int {
	return int(k.nameLength) + int(k.labelLength) + int(k.uidLength) + int(k.idsLength)
}

// text returns a part of the text, which begins at an offset. The result shares the memory of the record.
func (k *key) text(offset, length int) string {
	if length == 0 {
		return ""
	}
	return unsafe.String((*byte)(unsafe.Add(unsafe.Pointer(k), k.textStart()+offset)), length) //nolint:gosec // the text follows the credentials
}

// setText writes text at an offset, and returns the offset after it.
func (k *key) setText(offset int, text string) int {
	if text == "" {
		return offset
	}
	start := (*byte)(unsafe.Add(unsafe.Pointer(k), k.textStart()+offset)) //nolint:gosec // the text follows the credentials
	return offset + copy(unsafe.Slice(start, len(text)), text)            //nolint:gosec // callers keep within the record
}

func (k *key) name() string  { return k.text(0, int(k.nameLength)) }
func (k *key) label() string { return k.text(int(k.nameLength), int(k.labelLength)) }

func (k *key) uid() string {
	if k.hasUUID {
		return k.uuid.String()
	}
	return k.text(int(k.nameLength)+int(k.labelLength), int(k.uidLength))
}

// id returns the public ID of a credential.
func (c *credential) id() string {
	k := c.key()
	offset := int(k.nameLength) + int(k.labelLength) + int(k.uidLength)
	for i := range k.credentials()[:c.position] {
		offset += int(k.credentials()[i].idLength)
	}
	return k.text(offset, int(c.idLength))
}

// newRecord returns a record outside of a chunk.
func newRecord(header key, t *recordText) *key {
	header.uuid, header.hasUUID = parseUUID(t.uid)
	if header.hasUUID {
		t.uid = ""
	}
	header.nameLength, header.labelLength, header.uidLength = uint8(len(t.name)), uint16(len(t.label)), uint8(len(t.uid)) //nolint:gosec // see fits
	header.credentialCount, header.idsLength = uint16(len(t.credentials)), uint16(t.idsLength())                          //nolint:gosec // see fits
	k := allocateRecord(header)
	offset := k.setText(k.setText(k.setText(0, t.name), t.label), t.uid)
	for i := range t.credentials {
		k.credentials()[i].set(i, &t.credentials[i])
		offset = k.setText(offset, t.credentials[i].id)
	}
	return k
}

// allocateRecord returns a record outside of a chunk that begins with header.
func allocateRecord(header key) *key {
	words := make([]uint64, header.size())
	k := (*key)(unsafe.Pointer(&words[0])) //nolint:gosec // records have no pointers
	*k = header
	return k
}

// recordText holds what a record has besides a key.
type recordText struct {
	name, label, uid string
	credentials      []parsedCredential
}

func (t *recordText) idsLength() int {
	length := 0
	for i := range t.credentials {
		length += len(t.credentials[i].id)
	}
	return length
}

// fits reports whether a record has room for t. It has for all keys that the API server has validated.
func (t *recordText) fits() bool {
	const maxLabel, maxCredentials = 1 << 14, 1 << 10
	for i := range t.credentials {
		if len(t.credentials[i].id) > math.MaxUint8 {
			return false
		}
	}
	return len(t.name) <= math.MaxUint8 && len(t.label) <= maxLabel && len(t.uid) <= math.MaxUint8 &&
		len(t.credentials) <= maxCredentials && t.idsLength() <= math.MaxUint16
}

// clone returns a copy of the record outside of a chunk, with the counters of its credentials at zero.
func (k *key) clone() *key {
	next := allocateRecord(*k)
	for i := range k.credentials() {
		next.credentials()[i].credentialContent = k.credentials()[i].credentialContent
	}
	next.setText(0, k.text(0, k.textLength()))
	return next
}

// hasSameContent reports whether two records hold the same, except for their places and counters.
func (k *key) hasSameContent(other *key) bool {
	a, b := *k, *other
	b.word, b.position, b.isLive, b.isListed = a.word, a.position, a.isLive, a.isListed
	if a != b {
		return false
	}
	for i := range k.credentials() {
		if k.credentials()[i].credentialContent != other.credentials()[i].credentialContent {
			return false
		}
	}
	return k.text(0, k.textLength()) == other.text(0, k.textLength())
}
