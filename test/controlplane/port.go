// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The ports to hand out are below those that kernels give to whoever asks for any: one of those could be taken, as the
// near end of some connection, before the program that it is meant for listens.
const lowestPort, highestPort = 15000, 30000

var handedOut sync.Map

// FreePort is a TCP port of 127.0.0.1 on which nothing listens, and which this process was not given before.
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
