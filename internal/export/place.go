// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

const (
	// maxEntries limits the credentials of an export under layout Entries.
	maxEntries = 100_000
	// maxObjects limits the objects of an export under layout Objects.
	maxObjects = 10_000
	// maxShards limits the objects of an export under layout Entries, and with them the memory of the manager.
	maxShards = 256
)

// Write holds one write of an object.
type Write struct {
	// Name holds the name of the object.
	Name string
	// Delete deletes the object. Otherwise, the object is created, or updated if it exists.
	Delete bool
	// Items holds the items of the object after the write. It must not be changed.
	Items map[string]Item
	// Withdrawn lists the digests of the credentials that this write withdraws: the object holds them before the write,
	// and no object holds them after all writes.
	Withdrawn []string
	// After names the objects that must have been written before, because they held a credential or a name that this
	// write adds. If a write of one of them failed, or an earlier write of the same object, this one must not be
	// performed.
	After []string

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
	// Writes holds the writes in the order in which they must be performed, so that no credential and no name is in two
	// objects at a time. An object may have two writes.
	Writes []Write
	// Withheld lists the keys of entries that have no place.
	Withheld []Withheld
}

// Place returns the writes after which the objects hold exactly the desired entries. It changes neither argument. Under
// layout Entries, an entry stays in the object that holds it, so that the change of one key changes one object.
func (x *Export) Place(current Objects, desired []Entry) Placement {
	kept := x.admit(desired)
	if x.spec.Layout == v1alpha1.ExportLayoutObjects {
		return Placement{Writes: x.placeObjects(current, &kept), Withheld: kept.withheld}
	}
	writes := x.placeEntries(current, &kept)
	return Placement{Writes: writes, Withheld: kept.withheld}
}

// admitted holds the entries that an export may hold.
type admitted struct {
	entries []*Entry
	// byName holds the index of each entry by the name that must be unique: that of the entry, or of its object.
	byName map[string]int
	// digests holds the digests of all entries.
	digests  map[string]bool
	withheld []Withheld
}

// admit selects the entries that an export may hold. Of those that have the same name or the same digest, only the oldest
// is kept, and if there are too many, the youngest are not.
func (x *Export) admit(desired []Entry) admitted {
	a := admitted{
		entries: make([]*Entry, 0, len(desired)), byName: make(map[string]int, len(desired)), digests: make(map[string]bool, len(desired)),
	}
	limit := maxEntries
	if x.spec.Layout == v1alpha1.ExportLayoutObjects {
		limit = maxObjects
	}
	if len(desired) > limit || !x.addAll(&a, desired) {
		sorted := slices.Clone(desired)
		slices.SortFunc(sorted, func(a, b Entry) int { return precedence(&a, &b) })
		a.entries, a.withheld = a.entries[:0], nil
		clear(a.byName)
		clear(a.digests)
		x.addInOrder(&a, sorted, limit)
	}
	return a
}

// addAll adds entries, and reports whether their names and digests are unique.
func (x *Export) addAll(a *admitted, desired []Entry) bool {
	for i := range desired {
		e := &desired[i]
		a.byName[x.uniqueName(e)] = i
		a.digests[e.Digest] = true
		a.entries = append(a.entries, e)
	}
	return len(a.byName) == len(desired) && len(a.digests) == len(desired)
}

// addInOrder adds entries, of which the older are preferred, up to a limit.
func (x *Export) addInOrder(a *admitted, sorted []Entry, limit int) {
	for i := range sorted {
		e := &sorted[i]
		name := x.uniqueName(e)
		_, taken := a.byName[name]
		switch {
		case taken || a.digests[e.Digest]:
			a.withhold(e, v1alpha1.ReasonDuplicateEntry)
		case len(a.entries) == limit:
			a.withhold(e, v1alpha1.ReasonExportFull)
		default:
			a.byName[name], a.digests[e.Digest] = len(a.entries), true
			a.entries = append(a.entries, e)
		}
	}
}

func (a *admitted) withhold(e *Entry, reason string) {
	a.withheld = append(a.withheld, Withheld{e.Key, reason})
}

// uniqueName returns the name that no other entry may have.
func (x *Export) uniqueName(e *Entry) string {
	if x.spec.Layout == v1alpha1.ExportLayoutObjects {
		return x.ObjectName(e.Digest)
	}
	return e.Name
}

func (e *Entry) item() Item { return Item{Value: e.Value, Digest: e.Digest, UID: e.UID} }

// holds reports whether an object holds an entry.
func (o *Object) holds(e *Entry) bool {
	item, exists := o.Items[e.Name]
	return exists && bytes.Equal(item.Value, e.Value)
}

// withdrawn returns the digests of the items of an object that no entry has.
func (a *admitted) withdrawn(items map[string]Item) []string {
	var list []string
	for _, item := range items {
		if item.Digest != "" && !a.digests[item.Digest] {
			list = append(list, item.Digest)
		}
	}
	slices.Sort(list)
	return list
}
