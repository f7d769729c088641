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

// ClientIPResolver determines the address of the client that sent a request.
type ClientIPResolver struct {
	trusted *networks
}

// NewClientIPResolver returns a resolver that trusts the given proxies, which are addresses or CIDRs. IPv4-mapped IPv6
// addresses are converted to IPv4.
func NewClientIPResolver(trusted []string) (*ClientIPResolver, error) {
	list := make([]netip.Prefix, 0, len(trusted))
	for _, text := range trusted {
		network, err := parseProxy(text)
		if err != nil {
			return nil, fmt.Errorf("invalid proxy %q: must be an address such as 192.0.2.7 or a network such as 10.0.0.0/8", text)
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
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96) // invalid if the prefix covers more than IPv4
		if !network.IsValid() {
			err = errors.New("the network covers both IPv4 and IPv6")
		}
	}
	return network.Masked(), err
}

// maxHops limits the entries of X-Forwarded-For that are read, since a client may send any number.
const maxHops = 64

// Resolve returns the address of the client. It is the peer that the gateway or this process observed, or, if that peer
// is a trusted proxy, the last hop in forwarded that is not a trusted proxy. Resolve returns the zero address if the
// client cannot be determined because an entry is malformed or there are too many. The lines in forwarded are in the
// order in which they were received.
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

// ParseClient parses an address in the forms that proxies write: with or without a port, IPv6 with or without brackets.
// It returns the zero address if text is invalid.
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

// normalize returns an address in the form of whitelists: without a zone, and IPv4 as IPv4.
func normalize(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }
