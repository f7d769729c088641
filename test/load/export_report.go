// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
)

// The goals for KeyExports.
const (
	goalExportLatency = 100.0 // milliseconds, p99
	goalExportMemory  = 1.0   // KiB a key, by digest
)

// exportViolation returns an error for results that are wrong on any machine.
func exportViolation(phases []exportPhase) error {
	var wrong []error
	for _, p := range phases {
		if p.writes != p.changes {
			wrong = append(wrong, fmt.Errorf("content %s: %d changes caused %d writes of objects", p.content, p.changes, p.writes))
		}
		if p.unaffected > 0 {
			wrong = append(wrong, fmt.Errorf("content %s: changes that do not concern it caused %d writes of objects", p.content, p.unaffected))
		}
		if p.doubles > 0 {
			wrong = append(wrong, fmt.Errorf("content %s: %d times, an entry was in two objects at once", p.content, p.doubles))
		}
	}
	return errors.Join(wrong...)
}

// exportReport returns the table for KeyExports.
func exportReport(o options, phases []exportPhase) string {
	head := row{goal: "goal"}
	for _, p := range phases {
		head.cells = append(head.cells, "content "+string(p.content), "bare client")
	}
	title := fmt.Sprintf("a KeyExport of all keys, %d workers, %d CPUs, %s/%s, %s\n\n",
		o.concurrency, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	return title + layout(append([]row{head}, exportRows(phases)...))
}

func exportRows(phases []exportPhase) []row {
	latency := fmt.Sprintf("< %.0f", goalExportLatency)
	rows := exportSizeRows(phases)
	rows = append(rows, row{title: "changes of one key"})
	rows = append(rows, exportChangeRows(phases)...)
	rows = append(rows, latencyRows(phases, "patch to withdrawal", latency, func(p exportPhase) []float64 { return p.withdrawn })...)
	rows = append(rows, latencyRows(phases, "status Active to entry", latency, func(p exportPhase) []float64 { return p.added })...)
	rows = append(rows, row{title: "expiration"})
	rows = append(rows, latencyRows(phases, "expiration to withdrawal", latency, func(p exportPhase) []float64 { return p.expired })...)
	rows = append(rows, row{title: "many keys at once"})
	rows = append(rows, exportBurstRows(phases)...)
	rows = append(rows, row{title: "memory"})
	rows = append(rows, exportMemoryRows(phases)...)
	rows = append(rows, row{title: "restart, after a key was switched off while no manager ran"})
	return append(rows, exportRestartRows(phases)...)
}

// exportRow returns a row of results of KeyExports, with nothing for the bare client.
func exportRow(phases []exportPhase, title, format, goal string, of func(exportPhase) float64) row {
	r := row{title: title, goal: goal}
	for _, p := range phases {
		r.cells = append(r.cells, show(format, of(p)), "")
	}
	return r
}

func exportSizeRows(phases []exportPhase) []row {
	return []row{
		exportRow(phases, "keys", "%.0f", "", func(p exportPhase) float64 { return float64(p.keys) }),
		exportRow(phases, "objects", "%.0f", "", func(p exportPhase) float64 { return float64(p.objects) }),
		exportRow(phases, "data of the largest object, KiB", "%.0f", "", func(p exportPhase) float64 { return float64(p.size) / 1024 }),
		exportRow(phases, "create to all credentials exported, s", "%.2f", "", func(p exportPhase) float64 { return p.complete.Seconds() }),
		exportRow(phases, "GET secrets meanwhile", "%.0f", "", func(p exportPhase) float64 { return float64(p.creation.reads("secrets")) }),
	}
}

func exportChangeRows(phases []exportPhase) []row {
	perChange := func(title, format, goal string, of func(exportPhase) float64) row {
		return exportRow(phases, title+" per change", format, goal, func(p exportPhase) float64 { return of(p) / float64(p.changes) })
	}
	return []row{
		exportRow(phases, "changes", "%.0f", "", func(p exportPhase) float64 { return float64(p.changes) }),
		perChange("writes of objects", "%.2f", "1", func(p exportPhase) float64 { return float64(p.writes) }),
		exportRow(phases, "writes after unrelated changes", "%.0f", "0", func(p exportPhase) float64 { return float64(p.unaffected) }),
		perChange("GET secrets", "%.2f", "0, or 1 by key", func(p exportPhase) float64 { return float64(p.changeRequests.reads("secrets")) }),
		perChange("PUT keyexports/status", "%.2f", "", func(p exportPhase) float64 {
			return float64(p.changeRequests[request{http.MethodPut, "keyexports/status"}])
		}),
		perChange("CPU of the manager, ms", "%.1f", "", func(p exportPhase) float64 { return 1000 * p.cpu["manager"] }),
		perChange("CPU of kube-apiserver, ms", "%.1f", "", func(p exportPhase) float64 { return 1000 * p.cpu["kube-apiserver"] }),
	}
}

func exportBurstRows(phases []exportPhase) []row {
	return []row{
		exportRow(phases, "keys", "%.0f", "", func(p exportPhase) float64 { return float64(p.burst) }),
		exportRow(phases, "writes of objects", "%.0f", "", func(p exportPhase) float64 { return float64(p.burstWrites) }),
		exportRow(phases, "last patch to last withdrawal, ms", "%.0f", "", func(p exportPhase) float64 { return 1000 * p.burstTime.Seconds() }),
	}
}

func exportMemoryRows(phases []exportPhase) []row {
	more := func(of func(exportPhase) memory) func(exportPhase) float64 {
		return func(p exportPhase) float64 { return (of(p).heap - p.before.heap) / 1024 / float64(p.keys) }
	}
	goal := fmt.Sprintf("< %.0f by digest", goalExportMemory)
	return []row{
		exportRow(phases, "heap without the export, MiB", "%.1f", "", func(p exportPhase) float64 { return p.before.heap / (1 << 20) }),
		exportRow(phases, "heap per key of the export, KiB", "%.2f", goal, more(func(p exportPhase) memory { return p.after })),
		exportRow(phases, "the same after a restart, KiB", "%.2f", goal, more(func(p exportPhase) memory { return p.restarted })),
	}
}

func exportRestartRows(phases []exportPhase) []row {
	return []row{
		exportRow(phases, "start to withdrawal, s", "%.2f", "", func(p exportPhase) float64 { return p.sweep.Seconds() }),
		exportRow(phases, "writes of Secrets", "%.0f", "1", func(p exportPhase) float64 { return float64(p.restartRequests.of("secrets")) }),
		exportRow(phases, "GET secrets", "%.0f", "", func(p exportPhase) float64 { return float64(p.restartRequests.reads("secrets")) }),
	}
}

// latencyRows returns rows with the median, the 99th percentile and the maximum of latencies, next to those of the bare client.
func latencyRows(phases []exportPhase, title, goal string, of func(exportPhase) []float64) []row {
	var rows []row
	for _, q := range []struct {
		name string
		q    float64
	}{{name: "p50", q: 0.5}, {name: "p99", q: 0.99}, {name: "maximum", q: 1}} {
		r := row{title: fmt.Sprintf("%s, %s, ms", title, q.name)}
		if q.name == "p99" {
			r.goal = goal
		}
		for _, p := range phases {
			r.cells = append(r.cells, show("%.1f", quantile(of(p), q.q)), show("%.1f", quantile(p.bare, q.q)))
		}
		rows = append(rows, r)
	}
	return rows
}
