// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"cmp"
	"slices"
)

// placeObjects returns the writes under layout Objects: an object for each entry. The name of an object is derived from the
// digest, so a credential never moves. Deletions come first, then updates, then creations.
func (x *Export) placeObjects(current Objects, kept *admitted) []Write {
	var writes []Write
	for name, o := range current {
		i, wanted := kept.byName[name]
		switch {
		case !wanted:
			writes = append(writes, Write{Name: name, Delete: true, Withdrawn: kept.withdrawn(o.Items)})
		case len(o.Items) != 1 || !o.holds(kept.entries[i]) || x.hasDrifted(&o, kept.entries[i]):
			w := objectWrite(name, kept.entries[i])
			w.Withdrawn = kept.withdrawn(o.Items)
			writes = append(writes, w)
		}
	}
	slices.SortFunc(writes, func(a, b Write) int {
		return cmp.Or(cmp.Compare(writeOrder(&a), writeOrder(&b)), cmp.Compare(a.Name, b.Name))
	})
	var created []Write
	for name, i := range kept.byName {
		if _, exists := current[name]; !exists {
			created = append(created, objectWrite(name, kept.entries[i]))
		}
	}
	slices.SortFunc(created, func(a, b Write) int { return precedence(a.entry, b.entry) })
	return append(writes, created...)
}

func objectWrite(name string, e *Entry) Write {
	return Write{Name: name, Items: map[string]Item{e.Name: e.item()}, entry: e}
}

// writeOrder orders writes of objects: first deletions, then those that withdraw a credential, then the others.
func writeOrder(w *Write) int {
	switch {
	case w.Delete:
		return 0
	case len(w.Withdrawn) > 0:
		return 1
	}
	return 2
}
