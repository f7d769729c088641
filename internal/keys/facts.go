// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Facts are everything Decide and Describe may look at. Observe fills them, perform refreshes Held and Err after each
// step, nobody else writes them.
type Facts struct {
	// Key is the APIKey as it was read.
	Key *v1alpha1.APIKey
	// Account is the key's; nil: there is none.
	Account *v1alpha1.Account
	// Namespace are the labels of the key's namespace.
	Namespace map[string]string
	// Siblings are the other keys of the account with the same label.
	Siblings []*v1alpha1.APIKey
	// Held is what the key's Secret holds, without its bytes.
	Held Held
	// Defaults are what the manager's flags say.
	Defaults Defaults
	// Now is read once per round: UTC, whole seconds.
	Now time.Time
	// Err is what perform could not do, if anything.
	Err error
}

// Possession is how the Secret of a key's name relates to the key.
type Possession string

// How the Secret of a key's name relates to the key.
const (
	// HeldNothing means there is no such Secret, as far as is known.
	HeldNothing Possession = "Nothing"
	// HeldForeign means the Secret belongs to somebody else.
	HeldForeign Possession = "Foreign"
	// HeldLeftover means the Secret belonged to a deleted APIKey of this name, and the garbage collector is about to
	// remove it.
	HeldLeftover Possession = "Leftover"
	// HeldOwned means the Secret is the key's own.
	HeldOwned Possession = "Owned"
)

// Held describes what a Secret holds, never its bytes.
type Held struct {
	Possession Possession
	// ResourceVersion is the Secret's.
	ResourceVersion string
	// SHA256 is the digest of the current entry; empty: there is no such entry.
	SHA256 string
	// Identity is the current entry's; zero: it is not a well-formed key.
	Identity Identity
	// Minted means that this round made the current entry.
	Minted bool
	// Drifted means that labels, owner or remaining entries are not what they should be.
	Drifted bool
}

// current is the credential in the Secret's current entry according to a status; nil: none was issued.
func current(s *v1alpha1.APIKeyStatus) *v1alpha1.Credential {
	for i := range s.Credentials {
		if s.Credentials[i].Role == v1alpha1.RoleCurrent {
			return &s.Credentials[i]
		}
	}
	return nil
}

// Issued is whether a key has, or had, a credential.
func Issued(k *v1alpha1.APIKey) bool { return current(&k.Status) != nil }

// Entitled is whether a key is owed a slot whatever the limit: it was issued lawfully and gave nothing back, so a lower
// limit, or a lost record, evicts it not.
func Entitled(k *v1alpha1.APIKey, a *v1alpha1.Account) bool {
	if !Issued(k) {
		return false
	}
	return k.Status.State == v1alpha1.StateActive || (!countsUsableOnly(a) && k.Status.ReleasedGrant == "")
}

// knows is whether the Secret's current entry is the credential that verifiers know as current.
func (f *Facts) knows() bool {
	c := current(&f.Key.Status)
	return c != nil && f.Held.SHA256 == c.SHA256
}

// adoptable is whether the Secret's current entry may become the current credential: it was made in this round, or it
// is a well-formed key left by a round that died before it could say so.
func (f *Facts) adoptable() bool {
	if f.Held.Possession != HeldOwned || f.Held.Identity.ID == "" {
		return false
	}
	return f.Held.Minted || !Issued(f.Key)
}
