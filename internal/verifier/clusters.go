// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"strings"
	"sync"
	"time"
)

// Clusters gives verdicts on the keys of one or more clusters, each of which has an Index and a Syncer of its own.
//
// A key is judged by the objects of its own cluster only. If two clusters hold the same digest, it belongs to the key to
// which it was issued first, as within one cluster, and if the two records are equally old, to the cluster that was
// configured first. This also holds while that cluster is not complete: its keys are then refused, and never judged by
// another cluster.
type Clusters struct {
	list []*Index
	// verdicts records whether verdicts are given: all clusters were complete at the same time at least once, and one is
	// now.
	verdicts completeness

	mu sync.Mutex // held by update
	// started reports whether all clusters were complete at the same time.
	started bool
}

// NewClusters returns the Clusters that have the given indexes. No index may be part of two Clusters.
func NewClusters(list ...*Index) *Clusters {
	c := &Clusters{verdicts: newCompleteness(), list: list}
	for _, x := range list {
		if len(list) > 1 {
			x.clusters = c
		}
		x.onChange = c.update
	}
	c.update()
	return c
}

// update derives from the completeness of the clusters whether verdicts are given.
func (c *Clusters) update() {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, some := true, false
	for _, x := range c.list {
		complete := x.Complete()
		all, some = all && complete, some || complete
	}
	c.started = c.started || all
	c.verdicts.set(some && c.started)
}

// Complete reports whether verdicts are given. At the start, all clusters have to be complete, so that no key is unknown
// only because its cluster has not been read. After that, the loss of one does not affect the others.
func (c *Clusters) Complete() bool { return c.verdicts.Complete() }

// Completeness reports whether verdicts are given, and returns a channel that is closed when that changes.
func (c *Clusters) Completeness() (complete bool, changed <-chan struct{}) {
	return c.verdicts.Completeness()
}

// Choose does what Index.Choose does, for the keys of all clusters.
func (c *Clusters) Choose(candidates *Candidates) (key string, places Places, found Code) {
	if len(c.list) == 1 || candidates.count <= 1 {
		return c.list[0].Choose(candidates)
	}
	if candidates.ambiguous {
		return "", 0, Ambiguous
	}
	return candidates.chooseKnown(c.holds)
}

// holds reports whether any cluster holds a key.
func (c *Clusters) holds(key string) bool {
	for _, x := range c.list {
		if x.holds(key) {
			return true
		}
	}
	return false
}

// Check returns the verdict on a request at a given time, and records the use of the key. It allocates nothing.
func (c *Clusters) Check(in *Input, now time.Time) Verdict {
	if len(c.list) == 1 {
		return c.list[0].Check(in, now)
	}
	return c.check(in, now)
}

func (c *Clusters) check(in *Input, now time.Time) Verdict {
	switch {
	case !c.Complete():
		return Verdict{Code: NotSynced, Check: CheckSynced}
	case in.ExtractResult != Valid:
		return Verdict{Code: in.ExtractResult, Check: CheckKey}
	}
	d, ok := digestOf(in.Key)
	if !ok {
		return Verdict{Code: Unknown, Check: CheckKey}
	}
	holder, synced := c.find(&d)
	switch {
	case !synced:
		return Verdict{Code: NotSynced, Check: CheckSynced}
	case holder == nil:
		return Verdict{Code: Unknown, Check: CheckKey}
	}
	return holder.judge(in, now)
}

// find returns the credential that holds a digest in all clusters, or nil. synced reports whether its cluster is complete
// or, if there is no such credential, whether all clusters are: a key that a cluster may have is not unknown.
func (c *Clusters) find(d *digest) (holder *credential, synced bool) {
	all := true
	for _, x := range c.list {
		complete := x.Complete() // read first: an index is complete once it holds everything
		all = all && complete
		if found := x.table.find(d); found != nil && (holder == nil || found.precedes(holder)) {
			holder, synced = found, complete
		}
	}
	if holder == nil {
		return nil, all
	}
	return holder, synced
}

// holder returns the credential that verdicts use for a digest, or nil.
func (x *Index) holder(d *digest) *credential {
	if x.clusters == nil {
		return x.table.find(d)
	}
	holder, _ := x.clusters.find(d)
	return holder
}

// clusterSeparator separates the name of an account from that of its cluster. Neither contains it.
const clusterSeparator = "@"

// qualify returns the name of an account in verdicts, such as acme@eu.
func (x *Index) qualify(account string) string {
	if x.cluster == "" {
		return account
	}
	return account + clusterSeparator + x.cluster
}

// unqualify returns the name that an account has in its cluster.
func (x *Index) unqualify(account string) string {
	if x.cluster == "" {
		return account
	}
	return strings.TrimSuffix(account, clusterSeparator+x.cluster)
}
