// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// networks holds a set of addresses and networks.
type networks struct {
	list []netip.Prefix
	trie *bart.Lite
}

// trieThreshold is the number of entries from which a trie is faster than a linear search.
const trieThreshold = 16

// parseNetworks parses a whitelist. It returns nil if there is none. Invalid entries, which the manager refuses, match
// no address.
func parseNetworks(entries []string) *networks {
	if entries == nil {
		return nil
	}
	list := make([]netip.Prefix, 0, len(entries))
	for _, entry := range entries {
		if network, err := keys.ParseNetwork(entry); err == nil {
			list = append(list, network)
		}
	}
	return newNetworks(list)
}

// newNetworks returns the set of the given networks.
func newNetworks(list []netip.Prefix) *networks {
	if len(list) < trieThreshold {
		return &networks{list: slices.Clip(list)}
	}
	n := &networks{trie: &bart.Lite{}}
	for _, network := range list {
		n.trie.Insert(network)
	}
	return n
}

// networkSize estimates the bytes that an entry takes, with its share of the nodes of a trie.
const networkSize = 256

// size returns the number of entries.
func (n *networks) size() int {
	if n.trie != nil {
		return n.trie.Size()
	}
	return len(n.list)
}

// contains reports whether one of the networks contains an address, which must be unmapped and without a zone.
func (n *networks) contains(client netip.Addr) bool {
	if n.trie != nil {
		return client.IsValid() && n.trie.Lookup(client)
	}
	for _, network := range n.list {
		if network.Contains(client) {
			return true
		}
	}
	return false
}

// equal reports whether two whitelists are equal. It may return false if they are.
func (n *networks) equal(other *networks) bool {
	if n == nil || other == nil {
		return n == other
	}
	return n.trie == nil && other.trie == nil && slices.Equal(n.list, other.list)
}
