// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// bench holds what all phases share.
type bench struct {
	options

	out      io.Writer
	plane    *controlplane.ControlPlane
	builds   []managerBuild
	admin    client.WithWatch // creates keys, watches them and cleans up
	issuer   client.WithWatch // the bare client's, with the manager's identity
	server   *http.Client     // reads the API server's metrics and raw objects
	datasets int
	watches  watchCounts // open while only a manager ran
}

// managerBuild is a manager binary to measure.
type managerBuild struct{ name, binary string }

func (b *bench) connect() (err error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, eventsv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	admin, issuer := b.plane.Config(), b.plane.ManagerConfig()
	for _, config := range []*rest.Config{admin, issuer} {
		config.QPS = -1 // as the manager: the API server alone says how fast
	}
	issuer.UserAgent = "manager" // names who wrote in managedFields
	if b.admin, err = client.NewWithWatch(admin, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if b.issuer, err = client.NewWithWatch(issuer, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	b.server, err = rest.HTTPClientFor(admin)
	return err
}

// measure warms up, and then runs the phases of all managers and of the bare client in turns.
func (b *bench) measure(ctx context.Context) (results, error) {
	f := results{managers: make([][]managerPhase, len(b.builds))}
	if err := b.warmUp(ctx); err != nil {
		return f, fmt.Errorf("warm up: %w", err)
	}
	for round := range b.rounds {
		for i, side := range b.builds {
			phase, err := b.managerPhase(ctx, side, b.keys, b.accounts)
			if err != nil {
				return f, fmt.Errorf("measure %s: %w", side.name, err)
			}
			f.managers[i] = append(f.managers[i], phase)
			b.printf("Round %d of %d: %s issues %.0f keys/s, %s", round+1, b.rounds, side.name, phase.rate(), phase.costs())
		}
		if err := b.baselines(ctx, round, &f); err != nil {
			return f, fmt.Errorf("measure the bare client: %w", err)
		}
	}
	return f, nil
}

// baselines runs a phase of the bare client without watches, unless it is left out, and one with those of the manager.
func (b *bench) baselines(ctx context.Context, round int, f *results) error {
	writes := f.managers[0][round].accountWrites()
	if !b.onlyWatching {
		bare, err := b.baselinePhase(ctx, b.keys, b.accounts, writes, false)
		if err != nil {
			return err
		}
		f.bare = append(f.bare, bare)
		b.printf("Round %d of %d: the bare client issues %.0f keys/s", round+1, b.rounds, bare.rate())
	}
	watching, err := b.baselinePhase(ctx, b.keys, b.accounts, writes, true)
	if err != nil {
		return fmt.Errorf("with watches: %w", err)
	}
	b.printf("Round %d of %d: the bare client with watches issues %.0f keys/s", round+1, b.rounds, watching.rate())
	f.watching = append(f.watching, watching)
	return nil
}

// warmUp issues a tenth of the keys with each manager and the bare client, so that the first phase has no disadvantage.
func (b *bench) warmUp(ctx context.Context) error {
	const few = 10
	b.printf("Warming up")
	accounts := (b.accounts + few - 1) / few
	keys := max(accounts, b.keys/few)
	p, err := b.managerPhase(ctx, b.builds[0], keys, accounts)
	if err != nil {
		return err
	}
	_, err = b.baselinePhase(ctx, keys, accounts, p.accountWrites(), true)
	return err
}

// issuePhase holds the results of a phase that managers and the bare client have in common.
type issuePhase struct {
	timing

	keys, accounts int
	requests       counts
	conflicts      int
	cpu            map[string]float64 // seconds of each program while keys were issued
	bytes          counts             // of the stored objects as JSON, by resource
	sequential     []float64          // milliseconds from create to Ready of keys that came one at a time
}

// managerPhase holds the results of a phase of a manager.
type managerPhase struct {
	issuePhase

	lateEvents               int // not written yet when the last key was Ready
	rounds                   int
	before, after, restarted memory
	restart                  time.Duration
	restartCPU               map[string]float64
	restartRequests          counts
}

// costs returns what a manager needs for its keys, for runs that are too long to wait for the table.
func (p managerPhase) costs() string {
	perKey := func(m memory) float64 { return (m.heap - p.before.heap) / 1024 / float64(p.keys) }
	return fmt.Sprintf("needs %.1f KiB of heap per key, %.1f after a restart, which takes %.1f s and %d writes",
		perKey(p.after), perKey(p.restarted), p.restart.Seconds(), p.restartRequests.writes())
}

// cpuAll returns the processor time of all programs.
func (p issuePhase) cpuAll() float64 {
	total := 0.0
	for _, seconds := range p.cpu {
		total += seconds
	}
	return total
}

func (p issuePhase) rate() float64 { return float64(p.keys) / p.took.Seconds() }
func (p issuePhase) accountWrites() float64 {
	return float64(p.requests.of("accounts/status")) / float64(p.accounts)
}

// managerPhase starts a manager in an empty world, lets it issue keys, restarts it, gives it some more keys one at a
// time, and stops it.
func (b *bench) managerPhase(ctx context.Context, side managerBuild, keys, accounts int) (managerPhase, error) {
	p := managerPhase{issuePhase: issuePhase{keys: keys, accounts: accounts}}
	s, err := b.createDataset(ctx, keys, accounts, "")
	if err != nil {
		return p, err
	}
	if err := b.issueByManager(ctx, side, s, &p); err != nil {
		return p, err
	}
	if err := b.restart(ctx, side, &p); err != nil {
		return p, err
	}
	return p, b.cleanUp(ctx, s)
}

func (b *bench) issueByManager(ctx context.Context, side managerBuild, s dataset, p *managerPhase) error {
	m, err := b.startManager(ctx, side.binary)
	if err != nil {
		return err
	}
	if _, _, err := m.awaitIdle(ctx, 0); err != nil {
		return err
	}
	if b.watches, err = b.openWatches(ctx); err != nil {
		return err
	}
	if p.before, err = m.memory(ctx); err != nil {
		return err
	}
	b.startProfile(ctx)
	finish := func() (err error) {
		b.stopProfile(ctx, "cpu.pprof")
		if p.lateEvents, err = b.lateEvents(ctx, s); err != nil {
			return err
		}
		p.rounds, err = m.reconcilesUntilIdle(ctx, p.keys)
		return err
	}
	if err := b.issues(ctx, s, &p.issuePhase, func(*v1alpha1.APIKey) {}, finish); err != nil {
		return err
	}
	b.profileHeap(ctx)
	if p.after, err = m.memory(ctx); err != nil {
		return err
	}
	return m.Stop(time.Minute)
}

// restart restarts the manager while all keys exist, and measures the time until it is idle.
func (b *bench) restart(ctx context.Context, side managerBuild, p *managerPhase) error {
	before, err := b.served(ctx)
	if err != nil {
		return err
	}
	cpu := processorTime()
	m, err := b.startManager(ctx, side.binary)
	if err != nil {
		return err
	}
	b.startProfile(ctx)
	if p.restart, _, err = m.awaitIdle(ctx, p.keys+p.accounts); err != nil {
		return err
	}
	b.stopProfile(ctx, "restart-cpu.pprof")
	p.restartCPU = processorTimeSince(cpu)
	after, err := b.served(ctx)
	if err != nil {
		return err
	}
	p.restartRequests = after.requests.since(before.requests)
	b.profileRestart(ctx)
	if p.restarted, err = m.memory(ctx); err != nil {
		return err
	}
	byManager := func(context.Context, dataset) (func(*v1alpha1.APIKey), func() error) {
		return func(*v1alpha1.APIKey) {}, func() error { return nil }
	}
	if p.sequential, err = b.sequentialKeys(ctx, byManager); err != nil {
		return err
	}
	return m.Stop(time.Minute)
}

// baselinePhase issues keys with the bare client. No manager runs. If watching is set, the client holds the watches of a manager.
func (b *bench) baselinePhase(ctx context.Context, keys, accounts int, accountWrites float64, watching bool) (p issuePhase, err error) {
	p = issuePhase{keys: keys, accounts: accounts}
	if watching {
		held, err := b.holdWatches(ctx)
		if err != nil {
			return p, err
		}
		defer func() { err = errors.Join(err, held.failure()); held.stop() }()
		if err := b.checkWatches(ctx); err != nil {
			return p, err
		}
	}
	s, err := b.createDataset(ctx, keys, accounts, "")
	if err != nil {
		return p, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	byFloor := func(ctx context.Context, s dataset) (func(*v1alpha1.APIKey), func() error) {
		f := newBaseline(b.issuer, s, accountWrites)
		done := make(chan error, 1)
		go func() {
			err := f.work(ctx, b.concurrency)
			if err != nil {
				cancel(err)
			}
			done <- err
		}()
		return f.created, func() error { return <-done }
	}
	created, finish := byFloor(ctx, s)
	if err := b.issues(ctx, s, &p, created, finish); err != nil {
		return p, err
	}
	if p.sequential, err = b.sequentialKeys(ctx, byFloor); err != nil {
		return p, err
	}
	return p, b.cleanUp(ctx, s)
}

// sequentialKeys creates keys one after the other, each when the one before is Ready.
func (b *bench) sequentialKeys(
	ctx context.Context,
	by func(context.Context, dataset) (func(*v1alpha1.APIKey), func() error),
) ([]float64, error) {
	const few = 25
	s, err := b.createDataset(ctx, few, few, "")
	if err != nil {
		return nil, err
	}
	var latencies []float64
	for _, key := range s.keys {
		one := dataset{namespace: s.namespace, keys: []*v1alpha1.APIKey{key}, accounts: 1}
		created, finish := by(ctx, one)
		c, err := b.drive(ctx, one, created, client.MatchingFields{"metadata.name": key.Name})
		if err != nil {
			return nil, err
		}
		if err := finish(); err != nil {
			return nil, err
		}
		latencies = append(latencies, c.latencies...)
	}
	return latencies, b.cleanUp(ctx, s)
}

// issues creates the keys of a dataset and measures until the last one is Ready. Then it waits for the remaining writes.
func (b *bench) issues(ctx context.Context, s dataset, p *issuePhase, created func(*v1alpha1.APIKey), finish func() error) error {
	before, err := b.served(ctx)
	if err != nil {
		return err
	}
	cpu := processorTime()
	if p.timing, err = b.drive(ctx, s, created); err != nil {
		return err
	}
	p.cpu = processorTimeSince(cpu)
	if err := finish(); err != nil {
		return err
	}
	after, err := b.served(ctx)
	if err != nil {
		return err
	}
	p.requests, p.conflicts = after.requests.since(before.requests), after.conflicts-before.conflicts
	p.bytes, err = b.storedBytes(ctx, s)
	return err
}

// service counts the requests that the API server has served.
type service struct {
	requests  counts
	conflicts int
}

func (b *bench) served(ctx context.Context) (service, error) {
	metrics, err := scrape(ctx, b.server, b.url("/metrics"))
	if err != nil {
		return service{}, err
	}
	var s service
	s.requests, s.conflicts = requestsServed(metrics)
	return s, nil
}

// storedBytes returns the size of a dataset's objects as JSON, with managedFields.
func (b *bench) storedBytes(ctx context.Context, s dataset) (counts, error) {
	sizes := counts{}
	ours := "/apis/" + v1alpha1.GroupVersion.String()
	in := "/namespaces/" + s.namespace.Name
	for resource, path := range map[string]string{
		"apikeys": ours + in + "/apikeys", "accounts": ours + "/accounts",
		"secrets": "/api/v1" + in + "/secrets", "events": "/apis/events.k8s.io/v1" + in + "/events",
	} {
		body, err := b.get(ctx, path)
		if err != nil {
			return nil, err
		}
		sizes[request{resource: resource}] = len(body)
	}
	return sizes, nil
}

func (b *bench) url(path string) string { return strings.TrimSuffix(b.plane.Config().Host, "/") + path }

func (b *bench) get(ctx context.Context, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url(path), http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := b.server.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: %s", path, response.Status)
	}
	return io.ReadAll(response.Body)
}

// lateEvents returns how many keys of a dataset have no Event yet.
func (b *bench) lateEvents(ctx context.Context, s dataset) (int, error) {
	var list eventsv1.EventList
	if err := b.admin.List(ctx, &list, client.InNamespace(s.namespace.Name)); err != nil {
		return 0, err
	}
	return len(s.keys) - len(list.Items), nil
}

func (b *bench) createDataset(ctx context.Context, keys, accounts int, policy v1alpha1.ExportPolicy) (dataset, error) {
	b.datasets++
	s := newDataset(b.datasets, keys, accounts, b.spread)
	s.exportPolicy = policy
	if err := b.admin.Create(ctx, s.namespace); err != nil {
		return s, fmt.Errorf("create namespace %s: %w", s.namespace.Name, err)
	}
	return s, parallel(ctx, b.concurrency, s.prepared(), func(ctx context.Context, account *v1alpha1.Account) error {
		return b.admin.Create(ctx, account)
	})
}

// cleanUp deletes the objects of a dataset. Its namespace stays, because no namespace controller runs.
func (b *bench) cleanUp(ctx context.Context, s dataset) error {
	here := client.InNamespace(s.namespace.Name)
	err := errors.Join(
		b.admin.DeleteAllOf(ctx, &v1alpha1.APIKey{}, here),
		b.admin.DeleteAllOf(ctx, &corev1.Secret{}, here),
		b.admin.DeleteAllOf(ctx, &eventsv1.Event{}, here),
	)
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	accounts := slices.Collect(maps.Keys(s.sizes()))
	return parallel(ctx, b.concurrency, accounts, func(ctx context.Context, name string) error {
		return b.admin.Delete(ctx, &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: name}})
	})
}
