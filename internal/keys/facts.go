// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Facts are everything Decide and Describe may look at. Observe fills them, perform refreshes what a step
// changed, nobody else writes them.
type Facts struct {
	// Key is the APIKey as it was read.
	Key *v1alpha1.APIKey
	// Account is the key's; nil: there is none.
	Account *v1alpha1.Account
	// NamespaceLabels are the labels of the key's namespace.
	NamespaceLabels map[string]string
	// Siblings are the other keys of the account with the same label.
	Siblings []*v1alpha1.APIKey
	// Duplicates are the other keys that have, or have revoked, a credential of this key or the one that its Secret offers.
	Duplicates []*v1alpha1.APIKey
	// Repairs is what the manager remembers of its repairs of the Secret.
	Repairs Repairs
	// Secret is what the key's Secret holds, without its bytes.
	Secret ObservedSecret
	// Staged describes the credential that this process generated for the key and holds in memory until it goes into the
	// Secret; zero: there is none.
	Staged ObservedCredential
	// JustStaged reports whether this round generated it.
	JustStaged bool
	// JustFenced reports whether this round made the writes of the Secret fail that another process may be about to make.
	JustFenced bool
	// Propagated reports whether every live verifier knows the credential that the status staged last.
	Propagated bool
	// Settings are what the manager's flags say.
	Settings Settings
	// Now is read once per round: UTC, whole seconds.
	Now time.Time
	// Err is what perform could not do, if anything.
	Err error
	// Template remembers what checking the key's template has found, if it is set: one round asks several times.
	Template *TemplateCheck
}

// credentialInRole is the one in a role according to a status; nil: there is none.
func credentialInRole(s *v1alpha1.APIKeyStatus, role v1alpha1.CredentialRole) *v1alpha1.Credential {
	for i := range s.Credentials {
		if s.Credentials[i].Role == role {
			return &s.Credentials[i]
		}
	}
	return nil
}

// current is the credential in the Secret's current position according to a status; nil: none was issued.
func current(s *v1alpha1.APIKeyStatus) *v1alpha1.Credential {
	return credentialInRole(s, v1alpha1.RoleCurrent)
}

// Issued is whether a key has, or had, a credential.
func Issued(k *v1alpha1.APIKey) bool { return current(&k.Status) != nil }

// RetainsSlot is whether a key is owed a slot whatever the limit: it was issued lawfully and gave nothing back, so a lower
// limit, or a lost record, evicts it not.
func RetainsSlot(k *v1alpha1.APIKey, a *v1alpha1.Account) bool {
	if !Issued(k) {
		return false
	}
	return k.Status.State == v1alpha1.StateActive || (!countsUsableOnly(a) && k.Status.ReleasedGrant == "")
}

// staged returns the credentials that a status stages, the last one last.
func staged(s *v1alpha1.APIKeyStatus) []v1alpha1.Credential {
	return slices.DeleteFunc(slices.Clone(s.Credentials), func(c v1alpha1.Credential) bool { return c.Role != v1alpha1.RoleStaged })
}

// LastStaged returns the credential that a status staged last; nil: none. It alone may go into the Secret.
func LastStaged(s *v1alpha1.APIKeyStatus) *v1alpha1.Credential {
	for i := range slices.Backward(s.Credentials) {
		if s.Credentials[i].Role == v1alpha1.RoleStaged {
			return &s.Credentials[i]
		}
	}
	return nil
}

// promoted returns the staged credential that the Secret holds already; nil: none.
func (f *Facts) promoted() *v1alpha1.Credential {
	for i, c := range f.Key.Status.Credentials {
		if c.Role == v1alpha1.RoleStaged && f.Secret.Ownership == SecretOwned && f.Secret.Current.SHA256 == c.SHA256 {
			return &f.Key.Status.Credentials[i]
		}
	}
	return nil
}

// secretHolds is whether the Secret's current position has the credential that verifiers know in a role.
func (f *Facts) secretHolds(role v1alpha1.CredentialRole) bool {
	c := credentialInRole(&f.Key.Status, role)
	return c != nil && f.Secret.Ownership == SecretOwned && f.Secret.Current.SHA256 == c.SHA256
}

// adoptable reports whether what stands in the Secret's current position may become the current credential: it was made in
// this round, or it is offered for adoption to a key that was never issued. What a round left that died before it could
// write the status is neither: anybody may have put it there.
func (f *Facts) adoptable() bool {
	if f.Secret.Ownership != SecretOwned || f.Secret.Current.PublicPart.ID == "" {
		return false
	}
	return f.Secret.JustIssued || f.offersCredential()
}

// claimed reports whether the status says that the manager has seen the Secret as it is, with nothing in it that the status
// knows. The Secret of a key that was never issued is overwritten only then: the write of the status makes that of any other
// manager fail which is about to record a credential that it put there.
func (f *Facts) claimed() bool {
	ref := f.Key.Status.SecretRef
	return Issued(f.Key) || (ref != nil && ref.ResourceVersion == f.Secret.ResourceVersion)
}
