// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
)

// Returned ports are below the range of ephemeral ports: one of those could become the local port of a connection before the
// program that it is meant for listens on it. They are above the ports of Envoy Gateway, which cannot be configured.
const lowestPort, highestPort = 20000, 30000

var handedOut sync.Map

// FreePort returns a TCP port of 127.0.0.1 on which nothing listens and which it has not returned before in this process.
func FreePort() (int, error) {
	var problem error
	for range 100 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if _, given := handedOut.LoadOrStore(port, true); given {
			continue
		}
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // it is closed on the next line
		if err != nil {
			problem = err
			continue
		}
		return port, listener.Close()
	}
	return 0, errors.Join(errors.New("no free port was found in 100 tries"), problem)
}

// ReachableAddress returns an IPv4 address of this machine that is not a loopback address, so that EndpointSlices may name it.
func ReachableAddress() (string, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if address := prefix.Addr(); err == nil && address.Is4() && !address.IsLoopback() && !address.IsLinkLocalUnicast() {
			return address.String(), nil
		}
	}
	return "", errors.New("this machine has no address but loopback ones, which no EndpointSlice may name")
}
