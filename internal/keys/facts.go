// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Facts holds everything that Decide and Describe read. The controller fills it when it observes a key, and updates it
// after each step that it performs.
type Facts struct {
	// Key holds the APIKey as it was read.
	Key *v1alpha1.APIKey
	// FirstSeen holds the time at which this process first reconciled the key, if the key has no status. If it is zero, the
	// creation of the key counts.
	FirstSeen time.Time
	// Account holds the account of the key, or nil if there is none.
	Account *v1alpha1.Account
	// NamespaceLabels holds the labels of the key's namespace.
	NamespaceLabels map[string]string
	// Siblings lists the other keys of the account with the same label. It may be empty if the account allows that.
	Siblings []*v1alpha1.APIKey
	// Duplicates lists the other keys that have, or have revoked, a credential of this key or the one that its Secret
	// offers.
	Duplicates []*v1alpha1.APIKey
	// Repairs holds the manager's record of its repairs of the Secret.
	Repairs Repairs
	// Secret describes the content of the key's Secret, without key material.
	Secret ObservedSecret
	// Staged describes the credential that this process generated for the key and keeps in memory until it is written
	// to the Secret. It is zero if there is none.
	Staged ObservedCredential
	// JustStaged reports whether this reconcile generated the staged credential.
	JustStaged bool
	// JustFenced reports whether this reconcile performed FenceSecret, after which a pending write of the Secret by
	// another process fails.
	JustFenced bool
	// Propagated reports whether every live verifier, and every KeyExport, has observed the credential that the status staged last.
	Propagated bool
	// Settings holds the settings of the manager's flags.
	Settings Settings
	// Now holds the current time in UTC, in whole seconds. It is read once per reconcile.
	Now time.Time
	// Err holds the error of the step that failed, if any.
	Err error
	// Template caches the result of checking the key's template, which one reconcile needs several times. It may be
	// nil.
	Template *TemplateCheck
}

// credentialInRole returns the credential in a role according to a status, or nil if there is none.
func credentialInRole(s *v1alpha1.APIKeyStatus, role v1alpha1.CredentialRole) *v1alpha1.Credential {
	for i := range s.Credentials {
		if s.Credentials[i].Role == role {
			return &s.Credentials[i]
		}
	}
	return nil
}

// current returns the current credential according to a status, or nil if none was issued.
func current(s *v1alpha1.APIKeyStatus) *v1alpha1.Credential {
	return credentialInRole(s, v1alpha1.RoleCurrent)
}

// Issued reports whether a key has, or had, a credential.
func Issued(k *v1alpha1.APIKey) bool { return current(&k.Status) != nil }

// RetainsSlot reports whether the key keeps its slot regardless of the current limit. An issued key that has not
// released its grant is never evicted, even if the limit is lowered or the slot record is lost.
func RetainsSlot(k *v1alpha1.APIKey, a *v1alpha1.Account) bool {
	if !Issued(k) {
		return false
	}
	return k.Status.State == v1alpha1.StateActive || (!countsUsableOnly(a) && k.Status.ReleasedGrant == "")
}

// staged returns the staged credentials of a status, the last one last.
func staged(s *v1alpha1.APIKeyStatus) []v1alpha1.Credential {
	return slices.DeleteFunc(slices.Clone(s.Credentials), func(c v1alpha1.Credential) bool { return c.Role != v1alpha1.RoleStaged })
}

// LastStaged returns the credential that a status staged last, or nil if there is none. Only this one may be written to
// the Secret.
func LastStaged(s *v1alpha1.APIKeyStatus) *v1alpha1.Credential {
	for i := range slices.Backward(s.Credentials) {
		if s.Credentials[i].Role == v1alpha1.RoleStaged {
			return &s.Credentials[i]
		}
	}
	return nil
}

// promoted returns the staged credential that the Secret already holds, or nil if there is none.
func (f *Facts) promoted() *v1alpha1.Credential {
	for i, c := range f.Key.Status.Credentials {
		if c.Role == v1alpha1.RoleStaged && f.Secret.Ownership == SecretOwned && f.Secret.Current.SHA256 == c.SHA256 {
			return &f.Key.Status.Credentials[i]
		}
	}
	return nil
}

// secretHolds reports whether the current credential of the Secret is the one in a role of the status.
func (f *Facts) secretHolds(role v1alpha1.CredentialRole) bool {
	c := credentialInRole(&f.Key.Status, role)
	return c != nil && f.Secret.Ownership == SecretOwned && f.Secret.Current.SHA256 == c.SHA256
}

// adoptable reports whether the current credential of the Secret may become the current credential of the status: it
// was generated in this reconcile, or it is offered for adoption to a key that was never issued. A credential from a
// reconcile that ended before it could update the status qualifies for neither, because any client may have written it.
func (f *Facts) adoptable() bool {
	if f.Secret.Ownership != SecretOwned || f.Secret.Current.PublicPart.ID == "" {
		return false
	}
	return f.Secret.JustIssued || f.offersCredential()
}

// claimed reports whether the status records the resourceVersion of the Secret, which holds no credential that the
// status knows. The Secret of a key that was never issued is overwritten only then: if another manager is about to
// record a credential that it wrote to the Secret, this update of the status makes its update fail.
func (f *Facts) claimed() bool {
	ref := f.Key.Status.SecretRef
	return Issued(f.Key) || (ref != nil && ref.ResourceVersion == f.Secret.ResourceVersion)
}
