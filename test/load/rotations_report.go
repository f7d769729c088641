// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
)

// The goals for rotations.
const (
	goalRotations        = 600.0  // seconds, for 10,000 keys
	goalRotationRequests = 5.0    // per rotation
	goalNewKey           = 1000.0 // milliseconds
)

// rotationViolation returns an error for results that are wrong on any machine.
func rotationViolation(phases []rotationPhase) error {
	var wrong []error
	for _, p := range phases {
		if p.early > 0 {
			wrong = append(wrong, fmt.Errorf("%d keys were rotated before it was due", p.early))
		}
		if n := p.requests[request{http.MethodPost, "secrets"}]; n > 0 {
			wrong = append(wrong, fmt.Errorf("rotations created %d Secrets", n))
		}
	}
	return errors.Join(wrong...)
}

// rotationReport returns the table for rotations.
func rotationReport(o options, phases []rotationPhase) string {
	head := row{cells: []string{"manager"}, goal: "goal"}
	for _, path := range o.against {
		head.cells = append(head.cells, filepath.Base(path))
	}
	title := fmt.Sprintf("%d rotations due within %s, %d accounts in %d namespaces, %d workers, %d CPUs, %s/%s, %s\n\n",
		o.rotationKeys, rotationPeriod, phases[0].accounts, phases[0].namespaces, o.concurrency, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH,
		runtime.Version())
	return title + layout(append([]row{head}, rotationRows(phases)...))
}

func rotationRows(phases []rotationPhase) []row {
	f := rotationFigures(phases)
	rows := []row{
		f.row("first due to last rotated, s", "%.0f", fmt.Sprintf("< %.0f", goalRotations),
			func(p rotationPhase) float64 { return p.took.Seconds() }),
		f.row("due to rotated, p50, ms", "%.0f", "", func(p rotationPhase) float64 { return quantile(p.delays, 0.5) }),
		f.row("due to rotated, p99, ms", "%.0f", "", func(p rotationPhase) float64 { return quantile(p.delays, 0.99) }),
		{title: "another tenant's new keys meanwhile"},
		f.row("keys", "%.0f", "", func(p rotationPhase) float64 { return float64(len(p.newKeys)) }),
		f.row("create to Ready, p50, ms", "%.0f", "", func(p rotationPhase) float64 { return quantile(p.newKeys, 0.5) }),
		f.row("create to Ready, maximum, ms", "%.0f", fmt.Sprintf("< %.0f", goalNewKey),
			func(p rotationPhase) float64 { return quantile(p.newKeys, 1) }),
		{title: "requests per rotation"},
		f.perRotation("all", fmt.Sprintf("<= %.0f", goalRotationRequests), func(p rotationPhase) float64 { return float64(p.all()) }),
	}
	for _, r := range []request{
		{http.MethodGet, "apikeys"},
		{http.MethodGet, "secrets"},
		{http.MethodPut, "secrets"},
		{http.MethodPut, "apikeys/status"},
		{http.MethodPost, "events"},
	} {
		rows = append(rows, f.perRotation(r.verb+" "+r.resource, "", func(p rotationPhase) float64 { return float64(p.requests[r]) }))
	}
	cpu := func(program string) func(rotationPhase) float64 {
		return func(p rotationPhase) float64 { return 1000 * p.cpu[program] }
	}
	return append(rows,
		f.row("conflicts, in all", "%.0f", "", func(p rotationPhase) float64 { return float64(p.conflicts) }),
		row{title: "costs"},
		f.perRotation("CPU of the manager, ms per rotation", "", cpu("manager")),
		f.perRotation("CPU of kube-apiserver, ms per rotation", "", cpu("kube-apiserver")),
	)
}

// rotationFigures holds one phase of each manager.
type rotationFigures []rotationPhase

// row returns a row of a result.
func (f rotationFigures) row(title, format, goal string, of func(rotationPhase) float64) row {
	r := row{title: title, goal: goal}
	for _, p := range f {
		r.cells = append(r.cells, show(format, of(p)))
	}
	return r
}

// perRotation returns a row of a result divided by the number of rotations.
func (f rotationFigures) perRotation(title, goal string, of func(rotationPhase) float64) row {
	return f.row(title, "%.2f", goal, func(p rotationPhase) float64 { return of(p) / float64(p.keys) })
}
