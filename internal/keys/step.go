// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"

	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// Step describes one action of a plan. It is a plain value that can be printed: it may say that a credential is generated, but
// it never contains one. Only this package implements it.
type Step interface {
	fmt.Stringer
	isStep()
}

// CreateAccount creates the Account that a key names, with an empty spec.
type CreateAccount struct{ Name string }

// CreateSecret generates a credential and creates the key's Secret with it.
type CreateSecret struct {
	Name   string
	Format credential.Format
}

// ReissueCredential generates a credential and replaces all credentials in the key's Secret with it.
type ReissueCredential struct {
	Name   string
	Format credential.Format
}

// FenceSecret changes an annotation of the key's Secret, so that a pending write of it by another process fails with a
// conflict.
type FenceSecret struct{ Name string }

// StageCredential generates the next credential and keeps it in memory. Verifiers observe its digest in the status.
type StageCredential struct {
	Name   string
	Format credential.Format
}

// PromoteStaged writes the staged credential, which verifiers have observed by now, to the key's Secret. With an overlap, the
// credential before it stays in a Secret that has an entry for it.
type PromoteStaged struct {
	Name        string
	WithOverlap bool
}

// RetirePrevious removes the previous credential, whose overlap has ended, from the key's Secret.
type RetirePrevious struct{ Name string }

// ClearSecret removes all key material from the key's Secret and adds an annotation that says why.
type ClearSecret struct{ Name string }

// AdoptSecret makes the key the owner of a Secret that holds a credential of the key, or is offered to it for adoption. The
// credential is kept.
type AdoptSecret struct{ Name string }

// RepairSecret restores the declared content of the key's Secret and keeps its credentials.
type RepairSecret struct{ Name string }

// DeleteKey deletes the key itself, and its Secret with it, because the retention period of its account has passed. It is the
// only step of its plan.
type DeleteKey struct{ Name string }

// Apply returns the credentials that the key's Secret holds after a step. issued is the credential that the step writes: the
// staged one for PromoteStaged, or else one just generated. Other steps ignore it.
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

// String describes the step for logs and plans.
func (s CreateAccount) String() string {
	return "create Account " + s.Name
}

// String describes the step for logs and plans.
func (s CreateSecret) String() string {
	return "create Secret " + s.Name + " with a new " + s.Format.String()
}

// String describes the step for logs and plans.
func (s ReissueCredential) String() string {
	return "replace the credential in Secret " + s.Name + " with a new " + s.Format.String()
}

// String describes the step for logs and plans.
func (s FenceSecret) String() string {
	return "fence Secret " + s.Name + " against pending writes"
}

// String describes the step for logs and plans.
func (s StageCredential) String() string {
	return "stage a new " + s.Format.String() + " for Secret " + s.Name
}

// String describes the step for logs and plans.
func (s PromoteStaged) String() string {
	return "write the staged credential to Secret " + s.Name
}

// String describes the step for logs and plans.
func (s RetirePrevious) String() string {
	return "remove the previous credential from Secret " + s.Name
}

// String describes the step for logs and plans.
func (s ClearSecret) String() string {
	return "remove all credentials from Secret " + s.Name
}

// String describes the step for logs and plans.
func (s AdoptSecret) String() string {
	return "adopt Secret " + s.Name
}

// String describes the step for logs and plans.
func (s RepairSecret) String() string {
	return "repair Secret " + s.Name
}

// String describes the step for logs and plans.
func (s DeleteKey) String() string {
	return "delete APIKey " + s.Name
}
