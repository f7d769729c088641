// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ClientIPResolver finds out who sent a request.
type ClientIPResolver struct {
	trusted *networks
}

// NewClientIPResolver reads which proxies are trusted to say whom they forward for: addresses and CIDRs. IPv4-mapped IPv6 is
// unmapped.
func NewClientIPResolver(trusted []string) (*ClientIPResolver, error) {
	list := make([]netip.Prefix, 0, len(trusted))
	for _, text := range trusted {
		network, err := parseProxy(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no proxy: give an address, such as 192.0.2.7, or a network, such as 10.0.0.0/8", text)
		}
		list = append(list, network)
	}
	return &ClientIPResolver{trusted: newNetworks(list)}, nil
}

func parseProxy(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = normalize(addr)
		return addr.Prefix(addr.BitLen())
	}
	network, err := netip.ParsePrefix(text)
	if err == nil && network.Addr().Is4In6() {
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96) // no valid one if it has more than IPv4 in it
		if !network.IsValid() {
			err = errors.New("it mixes IPv4 and IPv6")
		}
	}
	return network.Masked(), err
}

// maxHops is how many entries of X-Forwarded-For are looked at. A client may send any number.
const maxHops = 64

// Resolve is the address of the client: the peer that the gateway, or this process, saw; if that is a trusted proxy, the
// last hop of X-Forwarded-For that is not one. The zero address means that it can't be told: an entry that had to be read
// is malformed, or there are too many. Lines of the header come in the order in which they were received.
func (r *ClientIPResolver) Resolve(peer netip.Addr, forwarded []string) netip.Addr {
	client := normalize(peer)
	hops := 0
	for _, line := range slices.Backward(forwarded) {
		for rest, more := line, true; more; {
			if !r.trusted.contains(client) {
				return client
			}
			if hops++; hops > maxHops {
				return netip.Addr{}
			}
			comma := strings.LastIndexByte(rest, ',')
			entry := rest[comma+1:]
			rest, more = rest[:max(comma, 0)], comma >= 0
			if client = ParseClient(strings.TrimSpace(entry)); !client.IsValid() {
				return netip.Addr{}
			}
		}
	}
	return client
}

// ParseClient reads an address as proxies write them: with or without a port, IPv6 in brackets or not. The zero address
// means that it can't be read.
func ParseClient(text string) netip.Addr {
	bare := text
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		bare = text[1 : len(text)-1]
	}
	if addr, err := netip.ParseAddr(bare); err == nil {
		return normalize(addr)
	}
	if addrPort, err := netip.ParseAddrPort(text); err == nil {
		return normalize(addrPort.Addr())
	}
	return netip.Addr{}
}

// normalize is an address as whitelists have it: without a zone, and IPv4 as IPv4.
func normalize(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }
