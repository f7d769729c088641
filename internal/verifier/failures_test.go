// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

func TestParseFailureRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]verifier.FailureRate{
		"": {}, "1/s": {Count: 1, Unit: time.Second}, "60/min": {Count: 60, Unit: time.Minute}, "999999/h": {Count: 999999, Unit: time.Hour},
	} {
		if got, err := verifier.ParseFailureRate(text); err != nil || got != want {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"60", "60/", "/min", "0/min", "060/min", "-1/min", "+1/min", "1.5/min", "60/m", "60/minute", "60/MIN", "60 / min", "1000000/s", "60/min\n",
		"60/2min", "1e3/min",
	} {
		_, err := verifier.ParseFailureRate(text)
		if err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("invalid rate %q: must be COUNT/UNIT such as 60/min", text)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// newFailureLimiter returns a limiter of three failures a minute: a client regains one each twenty seconds.
func newFailureLimiter() *verifier.FailureLimiter {
	return verifier.NewFailureLimiter(verifier.FailureRate{Count: 3, Unit: time.Minute})
}

// failures is a sequence of failures of some clients.
type failures []struct {
	client string
	// after is the time since the start.
	after time.Duration
	want  uint32
}

func TestFailureLimiter(t *testing.T) {
	t.Parallel()
	const client = "192.0.2.7"
	spent := failures{{client, 0, 0}, {client, 0, 0}, {client, 0, 0}, {client, 0, 1}}
	for name, sequence := range map[string]failures{
		"refuses what exceeds the rate, and counts it": append(spent, failures{{client, 0, 2}, {client, 19 * time.Second, 3}}...),
		"returns a failure after each interval": append(spent, failures{
			{client, 20 * time.Second, 0}, {client, 20 * time.Second, 2}, {client, 40 * time.Second, 0}, {client, 59 * time.Second, 3},
		}...),
		"starts again after the whole time": append(spent, failures{
			{client, time.Minute, 0}, {client, time.Minute, 0}, {client, time.Minute, 0}, {client, time.Minute, 1},
		}...),
		"does not limit clients that keep to the rate": {
			{client, 0, 0},
			{client, 20 * time.Second, 0},
			{client, 40 * time.Second, 0},
			{client, 60 * time.Second, 0},
			{client, 80 * time.Second, 0},
			{client, 100 * time.Second, 0},
			{client, 120 * time.Second, 0},
			{client, 140 * time.Second, 0},
		},
		"does not limit other clients":      append(spent, failures{{"192.0.2.8", 0, 0}, {"2001:db8::1", 0, 0}}...),
		"has one limit for an IPv6 network": {{"2001:db8::1", 0, 0}, {"2001:db8::2", 0, 0}, {"2001:db8::ffff:1", 0, 0}, {"2001:db8:0:0:8::", 0, 1}},
		"has another limit for the next one": {
			{"2001:db8::1", 0, 0}, {"2001:db8::1", 0, 0}, {"2001:db8::1", 0, 0}, {"2001:db8:0:1::1", 0, 0}, {"2001:db8::1", 0, 1},
		},
		"has no limit for clients that are not known": {{"", 0, 0}, {"", 0, 0}, {"", 0, 0}, {"", 0, 0}, {"", 0, 0}},
		"forgives after the clock was set back": append(spent, failures{
			{client, -time.Hour, 2}, {client, -time.Hour + time.Minute, 0},
		}...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limiter := newFailureLimiter()
			for i, f := range sequence {
				if got := limiter.Fail(verifier.ParseClient(f.client), epoch.Add(f.after)); got != f.want {
					t.Errorf("failure %d of %q after %s: got %d, want %d", i, f.client, f.after, got, f.want)
				}
			}
		})
	}
}

func TestFailureLimiter_Off(t *testing.T) {
	t.Parallel()
	limiter := verifier.NewFailureLimiter(verifier.FailureRate{})
	for range 10 {
		if limiter.Fail(netip.MustParseAddr("192.0.2.7"), epoch) != 0 || limiter.RetryAfter() != 0 {
			t.Fatal("a client is limited")
		}
	}
}

// After the time of Retry-After, a client at its limit may fail once more.
func TestFailureLimiter_RetryAfter(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"1/s", "7/min", "60/min", "999999/s", "3/h"} {
		rate, err := verifier.ParseFailureRate(text)
		if err != nil {
			t.Fatal(err)
		}
		limiter, client := verifier.NewFailureLimiter(rate), netip.MustParseAddr("192.0.2.7")
		allowed := 0
		for limiter.Fail(client, epoch) == 0 {
			allowed++
		}
		if allowed != rate.Count {
			t.Errorf("%s: %d failures were allowed", text, allowed)
		}
		if got := limiter.Fail(client, epoch.Add(limiter.RetryAfter())); got != 0 {
			t.Errorf("%s: refused after %s", text, limiter.RetryAfter())
		}
	}
}

// floodAddress returns one of many addresses: even ones are IPv4, odd ones are in IPv6 networks of their own.
func floodAddress(i int) netip.Addr {
	var address [16]byte
	if i%2 == 0 {
		binary.BigEndian.PutUint32(address[:], 0x0a000000+uint32(i))
		return netip.AddrFrom4([4]byte(address[:4]))
	}
	binary.BigEndian.PutUint64(address[:], 0x20010db8_00000000+uint64(i))
	return netip.AddrFrom16(address)
}

// A flood from a million addresses allocates nothing, limits none of them for the others, and does not displace clients
// that have reached their limit. It does not run in parallel, because it counts allocations.
func TestFailureLimiter_Flood(t *testing.T) {
	const million, offenders, count = 1_000_000, 100, 60
	limiter := verifier.NewFailureLimiter(verifier.FailureRate{Count: count, Unit: time.Minute})
	now := epoch
	offend := func() (refused int) {
		for i := range offenders {
			if limiter.Fail(floodAddress(million+i), now) > 0 {
				refused++
			}
		}
		return refused
	}
	for range count {
		if n := offend(); n != 0 {
			t.Fatalf("%d clients are refused within their limit", n)
		}
	}
	limited, displaced := 0, 0
	allocations := testing.AllocsPerRun(1, func() { // runs twice: the first run is not measured
		now = now.Add(time.Second / 4)
		for i := range million {
			if limiter.Fail(floodAddress(i), now) > 0 {
				limited++
			}
			if i%(million/10) == 0 {
				displaced += offenders - offend()
			}
		}
	})
	if allocations != 0 || limited != 0 || displaced != 0 {
		t.Errorf("%v allocations, %d of a million clients were limited, %d of %d refusals were missed", allocations, limited, displaced, 20*offenders)
	}
}

// Clients at their limit that are more than the table holds are still limited as far as it holds them.
func TestFailureLimiter_MoreOffendersThanEntries(t *testing.T) {
	t.Parallel()
	const many = 200_000
	limiter := newFailureLimiter()
	for range 4 {
		for i := range many {
			limiter.Fail(floodAddress(i), epoch)
		}
	}
	refused := 0
	for i := range many {
		if limiter.Fail(floodAddress(i), epoch) > 0 {
			refused++
		}
	}
	const most = 7 * 8000 // of each of the 8192 sets, one entry changes hands all the time, and a few sets have few clients
	if refused < most {
		t.Errorf("%d clients are refused", refused)
	}
}

func TestFailureLimiter_Concurrent(t *testing.T) {
	t.Parallel()
	const workers, attempts, count = 8, 1000, 500
	limiter := verifier.NewFailureLimiter(verifier.FailureRate{Count: count, Unit: time.Hour})
	var allowed atomic.Int64
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := range attempts {
				if limiter.Fail(netip.MustParseAddr("192.0.2.7"), epoch) == 0 {
					allowed.Add(1)
				}
				limiter.Fail(floodAddress(worker*attempts+i), epoch)
			}
		})
	}
	group.Wait()
	if allowed.Load() != count {
		t.Errorf("%d failures were allowed, want %d", allowed.Load(), count)
	}
}
