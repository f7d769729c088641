// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import "fmt"

// Step is one thing to do, as a plain value that can be printed: it says that material is to be minted, never which.
// The set is closed.
type Step interface {
	fmt.Stringer
	isStep()
}

// CreateAccount creates the Account a key names, with an empty spec.
type CreateAccount struct{ Name string }

// CreateSecret mints a credential and creates the key's Secret with it.
type CreateSecret struct{ Name, Prefix string }

// ReplaceMaterial mints a credential and puts it in the place of what the key's Secret holds.
type ReplaceMaterial struct{ Name, Prefix string }

// EmptySecret takes all key material out of the key's Secret and leaves a note that says why.
type EmptySecret struct{ Name string }

// MendSecret puts labels and remaining entries of the key's Secret back to what they should be.
type MendSecret struct{ Name string }

func (CreateAccount) isStep()   {}
func (CreateSecret) isStep()    {}
func (ReplaceMaterial) isStep() {}
func (EmptySecret) isStep()     {}
func (MendSecret) isStep()      {}

func (s CreateAccount) String() string   { return "create Account " + s.Name }
func (s CreateSecret) String() string    { return "create Secret " + s.Name + " with new material" }
func (s ReplaceMaterial) String() string { return "replace the material in Secret " + s.Name }
func (s EmptySecret) String() string     { return "empty Secret " + s.Name + " of material" }
func (s MendSecret) String() string      { return "mend Secret " + s.Name }
