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
	few  []netip.Prefix
	many *bart.Lite
}

// trieFrom is from how many entries on a trie is faster than going through them.
const trieFrom = 16

// newNetworks reads a whitelist; nil: there is none. Entries that can't be read match nobody: the manager refuses them.
func newNetworks(entries []string) *networks {
	if entries == nil {
		return nil
	}
	list := make([]netip.Prefix, 0, len(entries))
	for _, entry := range entries {
		if network, err := keys.ParseNetwork(entry); err == nil {
			list = append(list, network)
		}
	}
	return networksOf(list)
}

func networksOf(list []netip.Prefix) *networks {
	if len(list) < trieFrom {
		return &networks{few: slices.Clip(list)}
	}
	n := &networks{many: &bart.Lite{}}
	for _, network := range list {
		n.many.Insert(network)
	}
	return n
}

// contains is whether an address, unmapped and without zone, is in one of the networks.
func (n *networks) contains(client netip.Addr) bool {
	if n.many != nil {
		return client.IsValid() && n.many.Lookup(client)
	}
	for _, network := range n.few {
		if network.Contains(client) {
			return true
		}
	}
	return false
}
