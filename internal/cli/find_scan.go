// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"slices"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// roleRevoked is the role of a credential that is listed in status.revokedCredentials.
const roleRevoked = "Revoked"

// foundKey describes an APIKey that has, or had, a credential that the user looks for.
type foundKey struct {
	// Line is the line of standard input that holds the key. It is 0 if the key was looked up by its ID or hint.
	Line      int                    `json:"line,omitempty"`
	Namespace string                 `json:"namespace"`
	Name      string                 `json:"name"`
	Account   string                 `json:"account"`
	Label     string                 `json:"label,omitempty"`
	State     v1alpha1.ObservedState `json:"state"`
	// Role is the role of the credential: Current, Previous, Staged or Revoked.
	Role string `json:"role"`
	// KeyID is the public ID of the credential.
	KeyID string `json:"keyID"`
	Hint  string `json:"hint,omitempty"`
}

// keyQuery describes the credentials that a user looks for.
type keyQuery struct {
	// ID and Hint are looked up if they are not empty.
	ID, Hint string
	// Lines maps digests to the lines of standard input that hold these keys.
	Lines map[string][]int
}

// match returns the credentials of an APIKey that the query asks for.
func (q keyQuery) match(k *v1alpha1.APIKey) []foundKey {
	var found []foundKey
	add := func(id, hint, digest, role string) {
		lines := q.Lines[digest]
		if id == q.ID || hint != "" && hint == q.Hint {
			lines = []int{0}
		}
		for _, line := range lines {
			found = append(found, foundKey{
				Line: line, Namespace: k.Namespace, Name: k.Name, Account: k.Spec.Account, Label: k.Spec.Label, State: k.Status.State,
				Role: role, KeyID: id, Hint: hint,
			})
		}
	}
	for _, c := range k.Status.Credentials {
		add(c.ID, c.Hint, c.SHA256, string(c.Role))
	}
	for _, c := range k.Status.RevokedCredentials {
		add(c.ID, "", c.SHA256, roleRevoked)
	}
	return found
}

// missing returns the lines whose keys were not found.
func (q keyQuery) missing(found []foundKey) []int {
	seen := map[int]bool{}
	for _, f := range found {
		seen[f.Line] = true
	}
	var lines []int
	for _, of := range q.Lines {
		for _, line := range of {
			if !seen[line] {
				lines = append(lines, line)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// sortFound sorts by line, then by namespace and name.
func sortFound(found []foundKey) {
	slices.SortStableFunc(found, func(a, b foundKey) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}
