// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
)

// goalIdleCPU is in per cent of a core.
const goalIdleCPU = 0.5

// idleReport returns the table of a manager and a verifier at rest.
func idleReport(o options, p idlePhase) string {
	title := fmt.Sprintf("%d keys over %d accounts, a manager and a verifier at rest for %.0f s, %d CPUs, %s/%s, %s\n\n",
		o.keys, o.accounts, p.took.Seconds(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	return title + layout(p.rows())
}

func (p idlePhase) rows() []row {
	head := row{goal: "goal"}
	cpu := row{title: "CPU, % of a core", goal: fmt.Sprintf("< %.1f", goalIdleCPU)}
	started := row{title: "CPU from start to rest, s"}
	other := row{title: "all but leases and watches", goal: "0"}
	for _, program := range p.programs {
		head.cells = append(head.cells, program.name)
		cpu.cells = append(cpu.cells, show("%.2f", 100*program.cpu.Seconds()/p.took.Seconds()))
		started.cells = append(started.cells, show("%.1f", program.started.Seconds()))
		other.cells = append(other.cells, p.perMinute(otherRequests(program.requests)))
	}
	rounds := row{title: "reconciliations per minute", cells: []string{show("%.1f", p.rounds/p.took.Minutes())}}
	rows := []row{head, cpu, started, rounds, {title: "requests to the API server, per minute"}, other}
	rows = append(rows, p.requestRows()...)
	rows = append(rows, row{title: "requests of the manager to the verifier, per minute"})
	for _, what := range []string{"uses", "propagation"} {
		rows = append(rows, row{title: what, cells: []string{p.perMinute(p.polls[request{http.MethodGet, what}])}})
	}
	return rows
}

// requestRows returns a row for each kind of request that a program made.
func (p idlePhase) requestRows() []row {
	seen := map[request]bool{}
	for _, program := range p.programs {
		for what := range program.requests {
			seen[what] = true
		}
	}
	var rows []row
	for _, what := range slices.SortedFunc(maps.Keys(seen), func(a, b request) int {
		return cmp.Or(cmp.Compare(a.resource, b.resource), cmp.Compare(a.verb, b.verb))
	}) {
		r := row{title: what.verb + " " + what.resource}
		for _, program := range p.programs {
			r.cells = append(r.cells, p.perMinute(program.requests[what]))
		}
		rows = append(rows, r)
	}
	return rows
}

func (p idlePhase) perMinute(n int) string { return show("%.1f", float64(n)/p.took.Minutes()) }

// otherRequests returns the number of requests except those for leases and watches.
func otherRequests(all counts) int {
	n := 0
	for what, k := range all {
		if what.resource != "leases" && what.verb != "watch" {
			n += k
		}
	}
	return n
}
