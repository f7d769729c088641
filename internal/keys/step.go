// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"

	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// Step is one thing to do, as a plain value that can be printed: it says that material is to be minted, never which.
// The set is closed.
type Step interface {
	fmt.Stringer
	isStep()
}

// CreateAccount creates the Account a key names, with an empty spec.
type CreateAccount struct{ Name string }

// CreateSecret mints a credential and creates the key's Secret with it.
type CreateSecret struct {
	Name   string
	Format credential.Format
}

// ReissueCredential mints a credential and puts it in the place of all that the key's Secret holds.
type ReissueCredential struct {
	Name   string
	Format credential.Format
}

// FenceSecret changes an annotation of the key's Secret, so that each write of it fails that another process is about to make.
type FenceSecret struct{ Name string }

// StageCredential generates the next credential and keeps it in memory. The status tells verifiers its digest.
type StageCredential struct {
	Name   string
	Format credential.Format
}

// PromoteStaged writes the staged credential, which verifiers know by now, to the key's Secret. The one before stays in a
// Secret that has a place for it if verifiers go on accepting it.
type PromoteStaged struct {
	Name        string
	WithOverlap bool
}

// RetirePrevious takes the previous credential, whose end has come, out of the key's Secret.
type RetirePrevious struct{ Name string }

// ClearSecret takes all key material out of the key's Secret and leaves a note that says why.
type ClearSecret struct{ Name string }

// AdoptSecret makes the key the owner of a Secret that holds a credential of the key, or asks for it, and keeps the credential.
type AdoptSecret struct{ Name string }

// RepairSecret puts the key's Secret back to what it should be, with the credentials it has.
type RepairSecret struct{ Name string }

// DeleteKey deletes the key itself, and its Secret with it, because its account's retention is over. It comes alone.
type DeleteKey struct{ Name string }

// Apply returns the credentials that the key's Secret holds after a step. issued is the credential that the step brings: the
// one just generated, or for PromoteStaged the staged one. Other steps ignore it.
func Apply(step Step, c SecretCredentials, issued credential.Credential) SecretCredentials {
	switch s := step.(type) {
	case CreateSecret, ReissueCredential:
		return SecretCredentials{Current: issued}
	case PromoteStaged:
		if s.WithOverlap {
			return SecretCredentials{Current: issued, Previous: c.Current}
		}
		return SecretCredentials{Current: issued}
	case RetirePrevious:
		c.Previous = credential.Credential{}
	case ClearSecret:
		return SecretCredentials{Revoked: true}
	}
	return c
}

func (CreateAccount) isStep()     {}
func (CreateSecret) isStep()      {}
func (ReissueCredential) isStep() {}
func (FenceSecret) isStep()       {}
func (StageCredential) isStep()   {}
func (PromoteStaged) isStep()     {}
func (RetirePrevious) isStep()    {}
func (ClearSecret) isStep()       {}
func (AdoptSecret) isStep()       {}
func (RepairSecret) isStep()      {}
func (DeleteKey) isStep()         {}

func (s CreateAccount) String() string { return "create Account " + s.Name }
func (s CreateSecret) String() string {
	return "create Secret " + s.Name + " with a new " + s.Format.String()
}

func (s ReissueCredential) String() string {
	return "replace what Secret " + s.Name + " holds by a new " + s.Format.String()
}

func (s FenceSecret) String() string {
	return "make writes of Secret " + s.Name + " fail that are under way"
}

func (s StageCredential) String() string {
	return "stage a new " + s.Format.String() + " for Secret " + s.Name
}
func (s PromoteStaged) String() string  { return "write the staged credential to Secret " + s.Name }
func (s RetirePrevious) String() string { return "retire the previous credential in Secret " + s.Name }
func (s ClearSecret) String() string    { return "empty Secret " + s.Name + " of material" }
func (s AdoptSecret) String() string    { return "adopt Secret " + s.Name }
func (s RepairSecret) String() string   { return "mend Secret " + s.Name }
func (s DeleteKey) String() string      { return "delete APIKey " + s.Name }
