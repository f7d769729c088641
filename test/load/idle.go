// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/prometheus/procfs"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

const (
	// restPeriod is the time between the last change and the measurement. The programs free memory meanwhile.
	restPeriod = 30 * time.Second
	// leastIdle is the least time to measure: the time between two garbage collections that the Go runtime forces.
	leastIdle = 2 * time.Minute
)

func (o *options) bindIdle(f *flag.FlagSet) {
	f.DurationVar(&o.idle, "idle", 0,
		"instead of the rate, measure a manager and a verifier at rest for this long, at least 2m, after --keys were issued")
}

// idleBench measures a manager and a verifier while nothing changes.
type idleBench struct {
	*bench

	audit auditLog
	proxy *usageProxy
}

// idlePhase holds what a manager and a verifier did while nothing changed.
type idlePhase struct {
	keys     int
	took     time.Duration
	rounds   float64 // reconciliations
	programs []idleProgram
	// polls counts the requests of the manager to the verifier.
	polls counts
}

// idleProgram is one of the two programs, and what it used.
type idleProgram struct {
	name, account string
	process       *controlplane.Process
	profiles      string        // the address of its profiles
	started       time.Duration // processor time from the start until nothing happened
	cpu           time.Duration
	requests      counts // to the API server, with the verbs of its audit log
}

// runIdle measures a manager and a verifier at rest, and prints the table.
func (b *bench) runIdle(ctx context.Context) error {
	if b.idle < leastIdle {
		return fmt.Errorf("--idle is at least %s", leastIdle)
	}
	dir, err := os.MkdirTemp("", "apikey-manager-audit-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	i := &idleBench{bench: b, audit: newAuditLog(dir)}
	if err := i.start(ctx); err != nil {
		return err
	}
	p, err := i.measure(ctx)
	if i.proxy != nil {
		i.proxy.Close()
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(b.out, "\n"+idleReport(b.options, p))
	return err
}

// start starts a control plane that logs the requests of ServiceAccounts, and builds the manager.
func (b *idleBench) start(ctx context.Context) error {
	b.printf("Starting a control plane")
	flags, err := b.audit.flags()
	if err != nil {
		return err
	}
	if b.plane, err = controlplane.Start(ctx, controlplane.Options{WithoutControllers: true, APIServerFlags: flags}); err != nil {
		return err
	}
	b.printf("Building the manager")
	if b.builds, err = b.managers(ctx); err != nil {
		return err
	}
	return b.connect()
}

// measure issues the keys, starts the programs, waits until nothing happens, and measures.
func (b *idleBench) measure(ctx context.Context) (idlePhase, error) {
	p := idlePhase{keys: b.keys}
	b.printf("Issuing %d keys", b.keys)
	if err := b.issue(ctx); err != nil {
		return p, err
	}
	m, err := b.startPrograms(ctx, &p)
	if err != nil {
		return p, err
	}
	_, settled, err := m.awaitIdle(ctx, b.keys+b.accounts)
	if err != nil {
		return p, err
	}
	if err := pause(ctx, restPeriod); err != nil {
		return p, err
	}
	b.printf("Measuring for %s", b.idle)
	if err := b.observe(ctx, &p); err != nil {
		return p, err
	}
	metrics, err := m.metrics(ctx)
	p.rounds = activityOf(metrics).rounds - settled.rounds
	return p, err
}

// issue lets another manager issue the keys, and checks that all are Ready.
func (b *idleBench) issue(ctx context.Context) error {
	m, err := b.startManager(ctx, b.builds[0].binary)
	if err != nil {
		return err
	}
	s, err := b.createDataset(ctx, b.keys, b.accounts, "")
	if err != nil {
		return err
	}
	err = parallel(ctx, b.concurrency, s.keys, func(ctx context.Context, k *v1alpha1.APIKey) error { return b.admin.Create(ctx, k) })
	if err != nil {
		return err
	}
	if _, _, err := m.awaitIdle(ctx, b.keys); err != nil {
		return err
	}
	var list v1alpha1.APIKeyList
	if err := b.admin.List(ctx, &list, client.InNamespace(s.namespace.Name)); err != nil {
		return err
	}
	notReady := func(k v1alpha1.APIKey) bool {
		return !meta.IsStatusConditionTrue(k.Status.Conditions, v1alpha1.ConditionReady)
	}
	if list.Items = slices.DeleteFunc(list.Items, notReady); len(list.Items) != b.keys {
		return fmt.Errorf("%d of %d keys are Ready", len(list.Items), b.keys)
	}
	return m.Stop(time.Minute)
}

// observe measures for the given time. It makes no request meanwhile.
func (b *idleBench) observe(ctx context.Context, p *idlePhase) error {
	b.profileIdle(ctx, p, "start", "")
	b.proxy.reset()
	before, err := b.snapshot(p)
	if err != nil {
		return err
	}
	if err := pause(ctx, b.idle); err != nil {
		return err
	}
	after, err := b.snapshot(p)
	if err != nil {
		return err
	}
	p.took, p.polls = after.at.Sub(before.at), b.proxy.counts()
	b.profileIdle(ctx, p, "stop", "cpu.pprof")
	b.profileIdle(ctx, p, "allocs", "allocs.pprof")
	requests, err := b.audit.requests(before.logged, after.logged)
	for i := range p.programs {
		p.programs[i].started = before.cpu[i]
		p.programs[i].cpu = after.cpu[i] - before.cpu[i]
		p.programs[i].requests = requests[p.programs[i].account]
	}
	return err
}

// idleSnapshot holds the counters at the start or at the end of a measurement.
type idleSnapshot struct {
	at     time.Time
	cpu    []time.Duration // of each program
	logged int64           // the size of the audit log
}

func (b *idleBench) snapshot(p *idlePhase) (s idleSnapshot, err error) {
	s.at = time.Now()
	for _, program := range p.programs {
		cpu, err := program.processorTime()
		if err != nil {
			return s, err
		}
		s.cpu = append(s.cpu, cpu)
	}
	s.logged, err = b.audit.size()
	return s, err
}

// processorTime returns the processor time that the program has used. It fails if the program has ended.
func (p *idleProgram) processorTime() (time.Duration, error) {
	process, err := procfs.NewProc(p.process.Pid())
	if err != nil {
		return 0, errors.Join(err, p.process.Err())
	}
	stat, err := process.Stat()
	return time.Duration(stat.CPUTime() * float64(time.Second)), err
}

// profileIdle controls the profiles of both programs, or saves one in a file of each.
func (b *idleBench) profileIdle(ctx context.Context, p *idlePhase, what, file string) {
	if b.profile == "" {
		return
	}
	for _, program := range p.programs {
		name := file
		if file != "" {
			name = "idle-" + program.name + "-" + file
		}
		if err := b.tryProfile(ctx, program.profiles, what, name); err != nil {
			b.printf("Profile %s of the %s: %v", what, program.name, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
