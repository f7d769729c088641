// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

const (
	// idlePeriod is how long a manager must do nothing to count as idle. It is longer than all delays of the manager.
	idlePeriod = 6 * time.Second
	// pollInterval is the time between two reads of the processor time, of which an idle manager uses less than idleShare.
	pollInterval = 250 * time.Millisecond
	idleShare    = 0.05
)

// manager is a running manager whose metrics can be read.
type manager struct {
	*controlplane.Manager

	began   time.Time
	address string
	client  *http.Client
}

// startManager starts a manager and waits until it is ready.
func (b *bench) startManager(ctx context.Context, binary string) (*manager, error) {
	port, err := controlplane.FreePort()
	if err != nil {
		return nil, err
	}
	m := &manager{began: time.Now(), address: "127.0.0.1:" + strconv.Itoa(port), client: &http.Client{}}
	m.Manager, err = b.plane.StartManager(ctx, controlplane.ManagerOptions{Binary: binary, Flags: []string{
		"--metrics-bind-address=" + m.address, "--metrics-secure=false",
		"--max-concurrent-reconciles=" + strconv.Itoa(b.concurrency),
	}})
	return m, err
}

func (m *manager) metrics(ctx context.Context) ([]sample, error) {
	metrics, err := scrape(ctx, m.client, "http://"+m.address+"/metrics")
	if ended := m.Err(); ended != nil {
		return nil, ended
	}
	return metrics, err
}

// activity tells a busy manager from an idle one.
type activity struct{ waiting, working, rounds float64 }

func activityOf(metrics []sample) activity {
	return activity{
		waiting: sum(metrics, metricDepth, "", ""), working: sum(metrics, metricActive, "", ""),
		rounds: sum(metrics, metricReconciles, "", ""),
	}
}

// awaitIdle waits until the manager has run a number of reconciliations and has used almost no processor time for idlePeriod. It
// returns the time from the start of the manager until it became idle, and its activity. The metrics are read only then: with
// thousands of keys, a read of them costs more than the reconciliation of all keys.
func (m *manager) awaitIdle(ctx context.Context, rounds int) (time.Duration, activity, error) {
	var last activity
	for since, used := time.Now(), 0.0; ; {
		select {
		case <-ctx.Done():
			return 0, last, fmt.Errorf("the manager does not settle: %+v: %w", last, context.Cause(ctx))
		case <-time.After(pollInterval):
		}
		now := cpuTime(m.Pid())
		if now-used > idleShare*pollInterval.Seconds() {
			since = time.Now()
		}
		used = now
		if time.Since(since) <= idlePeriod {
			continue
		}
		metrics, err := m.metrics(ctx)
		if err != nil {
			return 0, last, err
		}
		if last = activityOf(metrics); last.waiting == 0 && last.working == 0 && last.rounds >= float64(rounds) {
			return since.Sub(m.began), last, nil
		}
		since = time.Now()
	}
}

// reconcilesUntilIdle waits until the manager is idle, and returns the number of reconciliations.
func (m *manager) reconcilesUntilIdle(ctx context.Context, least int) (int, error) {
	_, settled, err := m.awaitIdle(ctx, least)
	return int(settled.rounds), err
}

// memory is the memory use of a manager in bytes.
type memory struct{ heap, resident float64 }

// memory measures the heap that is in use: the least that any of several garbage collections left. Scrapes allocate much, with
// thousands of keys more than the heap. So that most collections fall between them, requests that allocate little bring those on: as
// many as it takes to double the heap.
func (m *manager) memory(ctx context.Context) (memory, error) {
	const enough, fewest, nudgeSize, most = 8, 4000, 2 << 10, 40
	least, first := math.Inf(1), -1.0
	for range most {
		metrics, err := m.metrics(ctx)
		if err != nil {
			return memory{}, err
		}
		cycles := sum(metrics, metricGCs, "", "")
		if first < 0 {
			first = cycles
		}
		live := sum(metrics, metricHeapLive, "", "")
		if cycles > first {
			least = min(least, live)
		}
		if cycles >= first+enough {
			break
		}
		for range max(fewest, int(live/nudgeSize)) {
			if err := m.allocate(ctx); err != nil {
				return memory{}, err
			}
		}
	}
	return memory{heap: least, resident: residentSize(m.Pid())}, nil
}

func (m *manager) allocate(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.address+"/nothing", http.NoBody)
	if err != nil {
		return err
	}
	response, err := m.client.Do(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return err
}
