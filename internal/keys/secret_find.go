// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

const (
	// maxKeyLength limits the length of the keys that can be found.
	maxKeyLength = 300
	// maxFindSteps limits the work of one search. A step is one position at which the hint occurs, or one block of
	// SHA-256. A search of a Secret of 1 MiB that takes all steps takes about 2 ms.
	maxFindSteps = 16 << 10
)

// credentialFinder finds one credential in the entries of a Secret, whatever text surrounds it. It goes to the
// positions at which the hint of the key occurs and compares digests of the text there.
type credentialFinder struct {
	hint   []byte
	digest [sha256.Size]byte
	left   int
}

// FindCredentials returns the credentials of a key that the entries of a Secret hold. It knows them by the digests that the
// status lists, so it never returns a value that another client wrote to the Secret.
func FindCredentials(k *v1alpha1.APIKey, data map[string][]byte) SecretCredentials {
	credentials, _ := findCredentials(k, nil, SecretContent{Data: data})
	return credentials
}

// findCredential finds a known credential in the entries of a Secret. The work is limited, so it may miss the
// credential if its hint occurs thousands of times. It always finds the credential in what Render returns.
func findCredential(data map[string][]byte, known v1alpha1.Credential) (credential.Credential, bool) {
	f := credentialFinder{hint: []byte(known.Hint), left: maxFindSteps}
	if n, err := hex.Decode(f.digest[:], []byte(known.SHA256)); err != nil || n != sha256.Size || len(f.hint) == 0 {
		return credential.Credential{}, false
	}
	for _, probe := range []func([]byte) int{f.likely, f.anyLength} {
		for _, entry := range slices.Sorted(maps.Keys(data)) {
			if key := f.scan(data[entry], probe); key != nil {
				return credential.Credential{Material: bytes.Clone(key), PublicPart: credential.PublicPart{ID: known.ID, Hint: known.Hint}}, true
			}
		}
	}
	return credential.Credential{}, false
}

// scan calls probe with the text at each position in value at which the hint occurs. probe returns the length of the
// key there, or 0.
func (f *credentialFinder) scan(value []byte, probe func([]byte) int) []byte {
	for f.left > 0 {
		i := bytes.Index(value, f.hint)
		if i < 0 {
			return nil
		}
		f.left--
		value = value[i:]
		if n := probe(value[:min(maxKeyLength, len(value))]); n > 0 {
			return value[:n]
		}
		value = value[1:]
	}
	return nil
}

// likely tries the ends that a key has in nearly every template: the end of a Token, whose length follows from its
// hint, the end of a UUID, the first character that does not occur in keys of this project, and the end of the entry.
func (f *credentialFinder) likely(text []byte) int {
	run := len(f.hint)
	for run < len(text) && isKeyCharacter(text[run]) {
		run++
	}
	f.left -= run / sha256.BlockSize
	token := len(f.hint) + credential.TokenTailLength
	for _, n := range []int{token, credential.UUIDLength, run, len(text)} {
		if f.matches(text, n) {
			return n
		}
	}
	return 0
}

func isKeyCharacter(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

func (f *credentialFinder) matches(text []byte, n int) bool {
	if n > len(text) {
		return false
	}
	f.left -= 1 + n/sha256.BlockSize
	return f.left >= 0 && sha256.Sum256(text[:n]) == f.digest
}

// anyLength tries every possible end, for a key that is directly followed by letters or digits.
func (f *credentialFinder) anyLength(text []byte) int {
	h := sha256.New()
	var sum [sha256.Size]byte
	for n := range text {
		if f.left--; f.left < 0 {
			return 0
		}
		h.Write(text[n : n+1])
		if [sha256.Size]byte(h.Sum(sum[:0])) == f.digest {
			return n + 1
		}
	}
	return 0
}
