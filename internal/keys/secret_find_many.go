// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"slices"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// maxFindManySteps limits the work of CredentialIndex.Find for one text. Users choose the hints of imported keys, so many
// hints may occur in a text at every position.
const maxFindManySteps = 512

// CredentialIndex finds any of many credentials in a text. It knows them by their hints and digests.
type CredentialIndex struct {
	byHint map[string][]*v1alpha1.Credential
	// lengths holds the lengths of the hints, the longest first.
	lengths []int
}

// NewCredentialIndex returns an index of credentials.
func NewCredentialIndex(list []v1alpha1.Credential) *CredentialIndex {
	x := &CredentialIndex{byHint: make(map[string][]*v1alpha1.Credential, len(list))}
	for i := range list {
		hint := list[i].Hint
		if hint == "" {
			continue
		}
		x.byHint[hint] = append(x.byHint[hint], &list[i])
		if !slices.Contains(x.lengths, len(hint)) {
			x.lengths = append(x.lengths, len(hint))
		}
	}
	slices.SortFunc(x.lengths, func(a, b int) int { return cmp.Compare(b, a) })
	return x
}

// Find returns a credential that the text contains, and its material, or nil. Its work is limited, so it may miss a
// credential in a text in which hints occur hundreds of times.
func (x *CredentialIndex) Find(text []byte) (*v1alpha1.Credential, credential.Material) {
	left := maxFindManySteps
	for i := range text {
		for _, length := range x.lengths {
			if i+length > len(text) {
				continue
			}
			for _, c := range x.byHint[string(text[i:i+length])] {
				if material := findAt(text[i:], c, &left); material != nil {
					return c, material
				}
				if left <= 0 {
					return nil, nil
				}
			}
		}
	}
	return nil, nil
}

// findAt returns the material of a credential with which a text begins, or nil. It subtracts its work from left.
func findAt(text []byte, c *v1alpha1.Credential, left *int) credential.Material {
	f := credentialFinder{hint: []byte(c.Hint), left: *left - 1}
	defer func() { *left = f.left }()
	if n, err := hex.Decode(f.digest[:], []byte(c.SHA256)); err != nil || n != len(f.digest) {
		return nil
	}
	text = text[:min(maxKeyLength, len(text))]
	for _, probe := range []func([]byte) int{f.likely, f.anyLength} {
		if n := probe(text); n > 0 {
			return bytes.Clone(text[:n])
		}
	}
	return nil
}
