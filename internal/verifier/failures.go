// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// FailureRate is how many requests with unknown keys a client may send in a unit of time. The zero rate is no limit.
type FailureRate struct {
	Count int
	Unit  time.Duration
}

var (
	failureRate  = regexp.MustCompile(`^([1-9][0-9]{0,5})/(s|min|h)$`)
	failureUnits = map[string]time.Duration{"s": time.Second, "min": time.Minute, "h": time.Hour}
)

// ParseFailureRate parses a rate such as 60/min. An empty text is no limit.
func ParseFailureRate(text string) (FailureRate, error) {
	if text == "" {
		return FailureRate{}, nil
	}
	parts := failureRate.FindStringSubmatch(text)
	if parts == nil {
		return FailureRate{}, fmt.Errorf("invalid rate %q: must be COUNT/UNIT such as 60/min, with a count from 1 to 999999 and "+
			"the unit s, min or h", text)
	}
	count, err := strconv.Atoi(parts[1])
	return FailureRate{Count: count, Unit: failureUnits[parts[2]]}, err
}

// The size of the table is fixed, and so is its memory: about 1.6 MB.
const (
	failureSets = 1 << 13
	failureWays = 8
)

// FailureLimiter limits how many requests with unknown keys a client may send. It counts IPv4 clients by address, and
// IPv6 clients by their /64, which is what a single client gets.
//
// Each client may fail Count times at once, and regains one failure each Unit/Count (the generic cell rate algorithm,
// which needs one number for each client). The table is set-associative. A client that is not in its set replaces the one
// that has used up least of its rate, so that a flood from many addresses replaces clients that failed once or twice, and
// not those that reached their limit. Which clients share a set depends on a random seed, so that a client cannot choose
// addresses that displace a certain client.
type FailureLimiter struct {
	// interval is the time in nanoseconds in which a client regains a failure, window the one in which it regains all.
	interval, window int64
	seed             maphash.Seed
	sets             []failureSet
}

type failureSet struct {
	sync.Mutex

	clients [failureWays]failedClient
}

// failedClient holds a client. The zero value is unused.
type failedClient struct {
	// hash identifies the client. Two clients that have the same hash by chance share a limit.
	hash uint64
	// regained is the time, in nanoseconds since the Unix epoch, at which the client will have regained all failures.
	regained int64
	// refusals counts the requests beyond the limit since the client last had all failures.
	refusals uint32
}

// NewFailureLimiter returns a limiter, or nil for the zero rate.
func NewFailureLimiter(rate FailureRate) *FailureLimiter {
	if rate.Count == 0 {
		return nil
	}
	interval := rate.Unit.Nanoseconds() / int64(rate.Count)
	return &FailureLimiter{
		interval: interval, window: interval * int64(rate.Count), seed: maphash.MakeSeed(), sets: make([]failureSet, failureSets),
	}
}

// RetryAfter returns a time after which a client at its limit may fail again. A nil limiter returns zero.
func (l *FailureLimiter) RetryAfter() time.Duration {
	if l == nil {
		return 0
	}
	return time.Duration(l.interval)
}

// Fail records that a client sent an unknown key. It returns zero if the client is within its limit, and otherwise how
// many requests were beyond it since the client last had all failures.
//
// A client whose address cannot be determined is always within the limit: it would share a limit with all others of its
// kind. A nil limiter limits no client.
func (l *FailureLimiter) Fail(client netip.Addr, now time.Time) (refusals uint32) {
	if l == nil || !client.IsValid() {
		return 0
	}
	hash := l.hash(client)
	set := &l.sets[hash%failureSets]
	set.Lock()
	defer set.Unlock()
	return l.fail(set.find(hash), hash, now.UnixNano())
}

func (l *FailureLimiter) hash(client netip.Addr) uint64 {
	whole := client.As16()
	if client.Is4() {
		return maphash.Bytes(l.seed, whole[:])
	}
	return maphash.Bytes(l.seed, whole[:8])
}

// find returns the entry of a client, or else the one that it replaces.
func (s *failureSet) find(hash uint64) *failedClient {
	least := &s.clients[0]
	for i := range s.clients {
		c := &s.clients[i]
		if c.hash == hash {
			return c
		}
		if c.regained < least.regained {
			least = c
		}
	}
	return least
}

func (l *FailureLimiter) fail(c *failedClient, hash uint64, now int64) (refusals uint32) {
	switch {
	case c.hash != hash, c.regained <= now:
		*c = failedClient{hash: hash, regained: now + l.interval}
		return 0
	case c.regained > now+l.window: // the clock was set back
		c.regained = now + l.window
	}
	if c.regained+l.interval > now+l.window {
		c.refusals += min(1, ^c.refusals) // stops at the maximum
		return c.refusals
	}
	c.regained += l.interval
	return 0
}
