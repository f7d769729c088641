// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keystest

import (
	"crypto/sha256"
	"encoding/binary"
)

// Bytes generates an endless sequence of bytes that depends only on the seed. Tests use it in place of random bytes.
type Bytes struct {
	Seed string

	block [sha256.Size]byte
	left  int
	next  uint64
}

// Read implements io.Reader. It never fails.
func (b *Bytes) Read(p []byte) (int, error) {
	for i := range p {
		if b.left == 0 {
			b.block = sha256.Sum256(binary.BigEndian.AppendUint64([]byte(b.Seed+"\x00"), b.next))
			b.next, b.left = b.next+1, len(b.block)
		}
		p[i] = b.block[len(b.block)-b.left]
		b.left--
	}
	return len(p), nil
}
