// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"unicode/utf8"
)

// The goals.
const (
	goalShare   = 90.0 // per cent of the rate of the bare client with watches
	goalMemory  = 6.0  // KiB a key
	goalRestart = 5.0  // seconds
)

// results holds one phase a round of each manager, of the bare client, and of the bare client with the watches of a manager.
type results struct {
	managers       [][]managerPhase
	bare, watching []issuePhase
}

// violation returns an error for results that are wrong on any machine.
func (f results) violation() error {
	for _, phases := range f.managers {
		for _, p := range phases {
			if n := p.restartRequests.writes(); n > 0 {
				return fmt.Errorf("a restart with nothing to do made %d writes: %v", n, p.restartRequests)
			}
		}
	}
	return nil
}

// row is a row of the table: the results of each manager, of the bare client without and with watches, and the goal.
type row struct {
	title string
	cells []string
	goal  string
}

// report returns the table.
func report(o options, f results) string {
	head := row{cells: []string{"manager"}, goal: "goal"}
	for _, path := range o.against {
		head.cells = append(head.cells, filepath.Base(path))
	}
	head.cells = append(head.cells, "bare client", "and watches")
	order := "an account's keys together"
	if o.spread {
		order = "accounts by turns"
	}
	title := fmt.Sprintf("%d keys over %d accounts (%s), %d creators and %d workers, medians of %d, %d CPUs, %s/%s, %s\n\n",
		o.keys, o.accounts, order, o.concurrency, o.concurrency, o.rounds, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	return title + layout(append([]row{head}, f.rows()...))
}

func (f results) rows() []row {
	var rows []row
	rows = append(rows, f.rateRows()...)
	rows = append(rows, row{title: "writes"})
	rows = append(rows, f.writeRows()...)
	rows = append(rows, row{title: "costs"})
	rows = append(rows, f.costRows()...)
	rows = append(rows, row{title: "memory"})
	rows = append(rows, f.memoryRows()...)
	rows = append(rows, row{title: "restart with all keys there"})
	return append(rows, f.restartRows()...)
}

func (f results) rateRows() []row {
	share := f.shareRow("of the bare client with watches, %", f.watching, issuePhase.rate)
	share.goal = fmt.Sprintf(">= %.0f", goalShare)
	perCPU := func(p issuePhase) float64 { return float64(p.keys) / p.cpuAll() }
	return []row{
		f.bothRow("keys issued per second", "%.0f", issuePhase.rate),
		f.shareRow("of the bare client, %", f.bare, issuePhase.rate), share,
		f.shareRow("keys per second of CPU, of the bare client, %", f.bare, perCPU),
		f.shareRow("of the bare client with watches, %", f.watching, perCPU),
		f.bothRow("create to Ready, p50, ms", "%.0f", func(p issuePhase) float64 { return quantile(p.latencies, 0.50) }),
		f.bothRow("create to Ready, p99, ms", "%.0f", func(p issuePhase) float64 { return quantile(p.latencies, 0.99) }),
		f.bothRow("one key at a time, p50, ms", "%.0f", func(p issuePhase) float64 { return quantile(p.sequential, 0.50) }),
		f.bothRow("one key at a time, p99, ms", "%.0f", func(p issuePhase) float64 { return quantile(p.sequential, 0.99) }),
	}
}

// shareRow returns a result of all sides in per cent of that of a bare client.
func (f results) shareRow(title string, floor []issuePhase, of func(issuePhase) float64) row {
	full := median(each(floor, of))
	return f.bothRow(title, "%.0f", func(p issuePhase) float64 { return 100 * of(p) / full })
}

func (f results) writeRows() []row {
	perKey := func(verb, resource string) row {
		return f.bothRow(verb+" "+resource+" per key", "%.2f", func(p issuePhase) float64 {
			return float64(p.requests[request{verb, resource}]) / float64(p.keys)
		})
	}
	secrets, statuses, events := perKey(
		http.MethodPost,
		"secrets",
	), perKey(
		http.MethodPut,
		"apikeys/status",
	), perKey(
		http.MethodPost,
		"events",
	)
	secrets.goal, statuses.goal, events.goal = "1", "1", "1"
	return []row{
		perKey(http.MethodPost, "apikeys"), secrets, statuses, events,
		f.bothRow("PATCH accounts per account", "%.2f", func(p issuePhase) float64 {
			return float64(p.requests[request{http.MethodPatch, "accounts"}]) / float64(p.accounts)
		}),
		f.bothRow("PUT accounts/status per account", "%.2f", issuePhase.accountWrites),
		f.bothRow("all writes per key", "%.2f", func(p issuePhase) float64 { return float64(p.requests.writes()) / float64(p.keys) }),
		f.bothRow("conflicts, in all", "%.0f", func(p issuePhase) float64 { return float64(p.conflicts) }),
		f.bothRow("GET secrets and apikeys, in all", "%.0f", func(p issuePhase) float64 {
			return float64(p.requests.reads("secrets") + p.requests.reads("apikeys"))
		}),
	}
}

func (f results) costRows() []row {
	stored := func(title string, resources ...string) row {
		return f.bothRow(title, "%.2f", func(p issuePhase) float64 {
			n := 0
			for _, resource := range resources {
				n += p.bytes[request{resource: resource}]
			}
			return float64(n) / 1024 / float64(p.keys)
		})
	}
	cpu := func(title string, of func(issuePhase) float64) row {
		return f.bothRow(title, "%.2f", func(p issuePhase) float64 { return 1000 * of(p) / float64(p.keys) })
	}
	return []row{
		cpu("CPU of kube-apiserver, ms per key", func(p issuePhase) float64 { return p.cpu["kube-apiserver"] }),
		cpu("CPU of etcd, ms per key", func(p issuePhase) float64 { return p.cpu["etcd"] }),
		cpu("CPU of the manager, ms per key", func(p issuePhase) float64 { return p.cpu["manager"] }),
		cpu("CPU of the bench, ms per key", func(p issuePhase) float64 { return p.cpu[thisProgram] }),
		stored("objects as JSON, KiB per key", "apikeys", "secrets", "events", "accounts"),
		f.managerRow("Events not written at the last Ready", "%.0f", func(p managerPhase) float64 { return float64(p.lateEvents) }),
		f.managerRow("rounds of the reconcilers per key", "%.2f", func(p managerPhase) float64 { return float64(p.rounds) / float64(p.keys) }),
	}
}

func (f results) memoryRows() []row {
	mebibytes := func(title string, of func(managerPhase) float64) row {
		return f.managerRow(title, "%.1f", func(p managerPhase) float64 { return of(p) / (1 << 20) })
	}
	perKey := func(title string, of func(managerPhase) memory, part func(memory) float64) row {
		return f.managerRow(title, "%.1f", func(p managerPhase) float64 {
			return (part(of(p)) - part(p.before)) / 1024 / float64(p.keys)
		})
	}
	after, resumed := func(p managerPhase) memory { return p.after }, func(p managerPhase) memory { return p.restarted }
	heap, resident := func(m memory) float64 { return m.heap }, func(m memory) float64 { return m.resident }
	issued := perKey("heap per key, after issuing, KiB", after, heap)
	restarted := perKey("heap per key, after a restart, KiB", resumed, heap)
	issued.goal = fmt.Sprintf("< %.0f", goalMemory)
	restarted.goal = issued.goal
	return []row{
		mebibytes("heap without keys, MiB", func(p managerPhase) float64 { return p.before.heap }),
		issued, restarted,
		mebibytes("resident without keys, MiB", func(p managerPhase) float64 { return p.before.resident }),
		perKey("resident per key, after issuing, KiB", after, resident),
		perKey("resident per key, after a restart, KiB", resumed, resident),
	}
}

func (f results) restartRows() []row {
	writes := f.managerRow("writes", "%.0f", func(p managerPhase) float64 { return float64(p.restartRequests.writes()) })
	reads := f.managerRow("GET secrets", "%.0f", func(p managerPhase) float64 { return float64(p.restartRequests.reads("secrets")) })
	settled := f.managerRow("start to settled, s", "%.1f", func(p managerPhase) float64 { return p.restart.Seconds() })
	settled.goal, writes.goal, reads.goal = fmt.Sprintf("< %.0f", goalRestart), "0", "0"
	cpu := f.managerRow("CPU of the manager, s", "%.1f", func(p managerPhase) float64 { return p.restartCPU["manager"] })
	served := f.managerRow("CPU of kube-apiserver, s", "%.1f", func(p managerPhase) float64 { return p.restartCPU["kube-apiserver"] })
	return []row{settled, cpu, served, writes, reads}
}

// bothRow returns a row of medians of the managers and the bare client.
func (f results) bothRow(title, format string, of func(issuePhase) float64) row {
	r := f.managerRow(title, format, func(p managerPhase) float64 { return of(p.issuePhase) })
	r.cells = append(r.cells, show(format, median(each(f.bare, of))), show(format, median(each(f.watching, of))))
	return r
}

// managerRow returns a row of medians of the managers.
func (f results) managerRow(title, format string, of func(managerPhase) float64) row {
	r := row{title: title}
	for _, phases := range f.managers {
		r.cells = append(r.cells, show(format, median(each(phases, of))))
	}
	return r
}

// each returns a result of each phase.
func each[P any](phases []P, of func(P) float64) []float64 {
	values := make([]float64, len(phases))
	for i, p := range phases {
		values[i] = of(p)
	}
	return values
}

// show formats a number, or returns - if there is none: not all systems report processor time.
func show(format string, figure float64) string {
	if math.IsNaN(figure) || math.IsInf(figure, 0) {
		return "-"
	}
	return fmt.Sprintf(format, figure)
}

// layout aligns the columns of rows: titles to the left, numbers to the right. A row without numbers is a heading.
func layout(rows []row) string {
	wide, columns := 0, 0
	for _, r := range rows {
		wide, columns = max(wide, utf8.RuneCountInString(r.title)), max(columns, len(r.cells))
	}
	var out strings.Builder
	for _, r := range rows {
		line := fmt.Sprintf("%-*s", wide+2, "  "+r.title)
		if len(r.cells) == 0 {
			line = r.title
		}
		for i := range columns {
			cell := ""
			if i < len(r.cells) {
				cell = r.cells[i]
			}
			line += fmt.Sprintf("  %11s", cell)
		}
		if r.goal != "" {
			line += "  " + r.goal
		}
		out.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return out.String()
}
