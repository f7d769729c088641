// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// networks are addresses and networks that a client may be in.
type networks struct {
	list []netip.Prefix
	trie *bart.Lite
}

// trieThreshold is from how many entries on a trie is faster than going through them.
const trieThreshold = 16

// parseNetworks reads a whitelist; nil: there is none. Entries that can't be read match nobody: the manager refuses them.
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

// contains is whether an address, unmapped and without zone, is in one of the networks.
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
