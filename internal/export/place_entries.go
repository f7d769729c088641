// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// shard holds an object under layout Entries while entries are placed.
type shard struct {
	number int
	name   string
	// exists reports whether the object exists. current holds its items.
	exists  bool
	current Object
	// entries holds the indexes of the entries that the object is to hold, and used their size. unchanged counts those
	// that it holds already.
	entries         []int
	used, unchanged int
}

// entryPlacer places the entries of an export under layout Entries.
type entryPlacer struct {
	x    *Export
	kept *admitted
	// capacity limits the size of the entries of an object.
	capacity int
	// shards holds the objects in the order of their numbers.
	shards []*shard
	// unknown holds the objects whose names no shard has. They are deleted.
	unknown []*shard
	// homes holds the shard of each entry, or nil. same reports whether the shard holds the entry already.
	homes []*shard
	same  []bool
}

// placeEntries returns the writes under layout Entries.
func (x *Export) placeEntries(current Objects, kept *admitted) []Write {
	n := len(kept.entries)
	p := &entryPlacer{x: x, kept: kept, capacity: x.capacity(), homes: make([]*shard, n), same: make([]bool, n)}
	p.load(current)
	p.keepByName()
	p.keepByDigest()
	p.place(p.fill())
	return p.writes()
}

// load adds the objects that exist, and the first object.
func (p *entryPlacer) load(current Objects) {
	for name, o := range current {
		s := &shard{name: name, exists: true, current: o}
		number, known := p.x.shardNumber(name)
		if s.number = number; known {
			p.shards = append(p.shards, s)
		} else {
			p.unknown = append(p.unknown, s)
		}
	}
	if _, exists := current[p.x.shardName(0)]; !exists {
		p.shards = append(p.shards, &shard{name: p.x.shardName(0)})
	}
	slices.SortFunc(p.shards, func(a, b *shard) int { return cmp.Compare(a.number, b.number) })
	slices.SortFunc(p.unknown, func(a, b *shard) int { return cmp.Compare(a.name, b.name) })
}

// keepByName keeps entries in the objects that have an item of the same name. If several have, it prefers one that has
// the same value.
func (p *entryPlacer) keepByName() {
	for _, s := range p.shards {
		for name, item := range s.current.Items {
			i, wanted := p.kept.byName[name]
			if !wanted || p.same[i] {
				continue
			}
			if same := bytes.Equal(item.Value, p.kept.entries[i].Value); same || p.homes[i] == nil {
				p.homes[i], p.same[i] = s, same
			}
		}
	}
}

// keepByDigest keeps the other entries in the objects that hold their credentials under other names, so that a change of
// the template does not move them.
func (p *entryPlacer) keepByDigest() {
	missing := map[string]int{}
	for i, e := range p.kept.entries {
		if p.homes[i] == nil {
			missing[e.Digest] = i
		}
	}
	if len(missing) == 0 {
		return
	}
	for _, s := range p.shards {
		for _, item := range s.current.Items {
			if i, isMissing := missing[item.Digest]; isMissing && p.homes[i] == nil {
				p.homes[i] = s
			}
		}
	}
}

// fill adds the entries to their objects, and returns the others, the oldest first: those that have no object yet, and
// those that have outgrown theirs.
func (p *entryPlacer) fill() (homeless []int) {
	for i := range p.kept.entries {
		if s := p.homes[i]; s != nil {
			p.add(s, i)
		} else {
			homeless = append(homeless, i)
		}
	}
	for _, s := range p.shards {
		if s.used > p.capacity {
			homeless = append(homeless, p.evict(s)...)
		}
	}
	slices.SortFunc(homeless, func(a, b int) int { return precedence(p.kept.entries[a], p.kept.entries[b]) })
	return homeless
}

func (p *entryPlacer) add(s *shard, i int) {
	p.homes[i] = s
	s.entries = append(s.entries, i)
	s.used += p.sizeOf(i)
	if p.same[i] {
		s.unchanged++
	}
}

func (p *entryPlacer) sizeOf(i int) int {
	return p.x.sizeOf(p.kept.entries[i].Name, p.kept.entries[i].Value)
}

// evict removes entries from an object until the others fit: first those that have changed, and the youngest first.
func (p *entryPlacer) evict(s *shard) []int {
	sorted := s.entries
	slices.SortFunc(sorted, func(a, b int) int {
		if p.same[a] != p.same[b] {
			if p.same[a] {
				return -1
			}
			return 1
		}
		return precedence(p.kept.entries[a], p.kept.entries[b])
	})
	fits := len(sorted)
	for s.used > p.capacity {
		fits--
		i := sorted[fits]
		s.used -= p.sizeOf(i)
		if p.same[i] {
			s.unchanged--
		}
		p.homes[i], p.same[i] = nil, false
	}
	s.entries = sorted[:fits:fits]
	return sorted[fits:]
}

// place adds each entry to the first object that has room.
func (p *entryPlacer) place(homeless []int) {
	for _, i := range homeless {
		if s := p.shardFor(p.sizeOf(i)); s != nil {
			p.add(s, i)
			continue
		}
		e := p.kept.entries[i]
		p.kept.withhold(e, v1alpha1.ReasonExportFull)
		delete(p.kept.digests, e.Digest)
	}
}

// shardFor returns the first object that has room for an entry of a size, which may be a new one, or nil if there is none. Objects grow
// beyond the preferred size only when there are many.
func (p *entryPlacer) shardFor(size int) *shard {
	if size > p.capacity {
		return nil
	}
	if s := p.firstWithRoom(size, min(preferredSize, p.capacity)); s != nil {
		return s
	}
	if s := p.addShard(preferredShards); s != nil {
		return s
	}
	if s := p.firstWithRoom(size, p.capacity); s != nil {
		return s
	}
	return p.addShard(maxShards)
}

func (p *entryPlacer) firstWithRoom(size, limit int) *shard {
	for _, s := range p.shards {
		if s.used+size <= limit {
			return s
		}
	}
	return nil
}

// addShard adds the object with the first free number, or returns nil if that is not below a limit.
func (p *entryPlacer) addShard(limit int) *shard {
	free := len(p.shards)
	for at, s := range p.shards {
		if s.number != at {
			free = at
			break
		}
	}
	if free >= limit {
		return nil
	}
	s := &shard{number: free, name: p.x.shardName(free)}
	p.shards = slices.Insert(p.shards, free, s)
	return s
}

// writes returns the writes of the objects that must change, in order.
func (p *entryPlacer) writes() []Write {
	var o writeOrderer
	for _, s := range p.unknown {
		o.add(&objectChange{name: s.name, write: Write{Name: s.name, Delete: true}, before: s.current.Items})
	}
	for _, s := range p.shards {
		if c := p.change(s); c != nil {
			o.add(c)
		}
	}
	for _, c := range o.changes {
		c.write.Withdrawn = p.kept.withdrawn(c.before)
	}
	return o.writes()
}

// change returns the change of an object, or nil if it must not change.
func (p *entryPlacer) change(s *shard) *objectChange {
	c := &objectChange{name: s.name, before: s.current.Items}
	switch {
	case len(s.entries) == 0 && s.number > 0:
		if c.write = (Write{Name: s.name, Delete: true}); s.exists {
			return c
		}
		return nil
	case s.exists && s.unchanged == len(s.entries) && s.unchanged == len(s.current.Items) && !p.x.hasDrifted(&s.current, nil):
		return nil
	}
	items := make(map[string]Item, len(s.entries))
	for _, i := range s.entries {
		items[p.kept.entries[i].Name] = p.kept.entries[i].item()
	}
	c.write = Write{Name: s.name, Items: items}
	return c
}
