// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"maps"
	"slices"
)

// This file orders the writes of objects, so that no credential and no name of an entry is in two objects at a time: Envoy
// Gateway, for example, rejects all keys if a key or a name occurs twice.

// objectChange holds the change of one object.
type objectChange struct {
	name string
	// before holds the items that the object holds, write the write after which it holds those that it should.
	before map[string]Item
	write  Write
	// leaving holds the items that the object holds and should not hold. waitsFor holds the changes of other objects
	// from which an item leaves that this change adds.
	leaving  map[string]Item
	waitsFor map[*objectChange]bool
	// released reports whether the leaving items have left the object.
	released bool
}

// isSame reports whether two items are equal for gateways.
func isSame(a, b Item) bool { return bytes.Equal(a.Value, b.Value) }

// writeOrderer orders changes.
type writeOrderer struct {
	changes []*objectChange
}

func (o *writeOrderer) add(c *objectChange) {
	c.leaving = map[string]Item{}
	for name, item := range c.before {
		if after, stays := c.write.Items[name]; !stays || !isSame(item, after) {
			c.leaving[name] = item
		}
	}
	o.changes = append(o.changes, c)
}

// connect finds out which changes must wait for which others.
func (o *writeOrderer) connect() {
	names, digests := map[string][]*objectChange{}, map[string][]*objectChange{}
	for _, c := range o.changes {
		for name, item := range c.leaving {
			names[name] = append(names[name], c)
			if item.Digest != "" {
				digests[item.Digest] = append(digests[item.Digest], c)
			}
		}
	}
	for _, c := range o.changes {
		c.waitsFor = map[*objectChange]bool{}
		for name, item := range c.write.Items {
			if before, exists := c.before[name]; exists && isSame(before, item) {
				continue
			}
			for _, other := range slices.Concat(names[name], digests[item.Digest]) {
				if other != c {
					c.waitsFor[other] = true
				}
			}
		}
	}
}

// writes returns the writes of all changes in order: deletions and withdrawals as early as possible. If changes wait for
// each other, as after a change of a template that exchanges names, the items that leave one of them are removed by a
// write of their own.
func (o *writeOrderer) writes() []Write {
	o.connect()
	slices.SortStableFunc(o.changes, func(a, b *objectChange) int { return writeOrder(&a.write) - writeOrder(&b.write) })
	var writes []Write
	for pending := o.changes; len(pending) > 0; {
		i := slices.IndexFunc(pending, (*objectChange).isReady)
		if i < 0 {
			writes = append(writes, release(pending))
			continue
		}
		c := pending[i]
		c.released = true
		writes = append(writes, c.finalWrite())
		pending = slices.Delete(pending, i, i+1)
	}
	return writes
}

func (c *objectChange) isReady() bool {
	for other := range c.waitsFor {
		if !other.released {
			return false
		}
	}
	return true
}

func (c *objectChange) finalWrite() Write {
	w := c.write
	for other := range c.waitsFor {
		w.After = append(w.After, other.name)
	}
	slices.Sort(w.After)
	return w
}

// release returns a write that removes the leaving items of the first change for which another one waits.
func release(pending []*objectChange) Write {
	i := slices.IndexFunc(pending, func(c *objectChange) bool {
		return !c.released && slices.ContainsFunc(pending, func(other *objectChange) bool { return other.waitsFor[c] })
	})
	c := pending[i]
	w := Write{Name: c.name, Items: maps.Clone(c.before), Withdrawn: c.write.Withdrawn}
	for name := range c.leaving {
		delete(w.Items, name)
	}
	c.released, c.write.Withdrawn = true, nil
	return w
}
