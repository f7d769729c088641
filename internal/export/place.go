// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"k8s.io/apimachinery/pkg/types"
)

// Write holds one write of an object.
type Write struct {
	// Name holds the name of the object.
	Name string
	// Delete deletes the object. Otherwise, the object is created, or updated if it exists.
	Delete bool
	// Items holds the items of the object after the write.
	Items map[string]Item
	// Removes holds the number of credentials that the object holds before the write and not after it.
	Removes int

	// entry holds the only entry of the object under layout Objects.
	entry *Entry
}

// Withheld holds why a key is withheld, in whole or in part.
type Withheld struct {
	// Key identifies the APIKey.
	Key types.NamespacedName
	// Reason holds a reason of status.withheld.
	Reason string
}

// Placement holds the result of Place.
type Placement struct {
	// Writes holds the writes in the order in which they must be performed. If one fails, those after it must not be
	// performed, so that no credential and no name is in two objects at a time.
	Writes []Write
	// Withheld lists the keys of entries that have no place.
	Withheld []Withheld
}

// Place returns the writes after which the objects hold exactly the desired entries. current is not changed; the maps of
// the writes must not be changed either.
func (x *Export) Place(current Objects, desired []Entry) Placement { return Placement{} }

// Apply returns the objects after a write.
func (o Objects) Apply(w Write) Objects { return o }
