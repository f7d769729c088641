// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

const (
	// rotationPeriod is the time within which all rotations become due.
	rotationPeriod = time.Minute
	// rotationNamespaces is the highest number of namespaces of the keys that rotate.
	rotationNamespaces = 100
	// newKeyInterval is the time from one new key of another tenant to the next.
	newKeyInterval = 3 * time.Second
	// mostNewKeys limits the number of new keys of the other tenant.
	mostNewKeys = 1000
)

// rotationPhase holds the results for rotations that are due at almost the same time.
type rotationPhase struct {
	keys, accounts, namespaces int

	took      time.Duration // from the first instant at which one was due to the status of the last one
	delays    []float64     // milliseconds from the instant at which each was due to its status
	early     int           // rotations before they were due
	newKeys   []float64     // milliseconds from create to Ready of the keys of another tenant meanwhile
	requests  counts        // without those for the new keys
	conflicts int
	cpu       map[string]float64
}

// all returns the number of requests.
func (p rotationPhase) all() int {
	total := 0
	for _, n := range p.requests {
		total += n
	}
	return total
}

// measureRotations measures the rotations of each manager.
func (b *bench) measureRotations(ctx context.Context) ([]rotationPhase, error) {
	var phases []rotationPhase
	for _, side := range b.builds {
		p, err := b.rotationPhase(ctx, side)
		if err != nil {
			return phases, fmt.Errorf("measure the rotations of %s: %w", side.name, err)
		}
		phases = append(phases, p)
	}
	return phases, nil
}

// rotationRun is one phase in progress.
type rotationRun struct {
	*bench

	phase   rotationPhase
	tenants []dataset
	// keys are the keys of all tenants, each followed by that of the next tenant.
	keys      []*v1alpha1.APIKey
	rotations *rotations
	manager   *manager
	// issued is how long it took to issue the keys.
	issued time.Duration
	// first is the instant at which the first rotation is due.
	first time.Time
}

// rotationPhase issues keys, schedules the rotation of all of them, and measures how the manager carries them out.
func (b *bench) rotationPhase(ctx context.Context, side managerBuild) (rotationPhase, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &rotationRun{bench: b, phase: rotationPhase{keys: b.rotationKeys, accounts: b.rotationAccounts()}}
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return r.prepare(ctx, side) }, r.schedule, r.rotate, r.cleanUp,
	} {
		if err := step(ctx); err != nil {
			return r.phase, err
		}
	}
	return r.phase, nil
}

// prepare issues the keys.
func (r *rotationRun) prepare(ctx context.Context, side managerBuild) (err error) {
	if r.manager, err = r.startManager(ctx, side.binary); err != nil {
		return err
	}
	n := min(rotationNamespaces, r.phase.accounts)
	r.phase.namespaces = n
	r.printf("Issuing %d keys in %d namespaces", r.phase.keys, n)
	began := time.Now()
	for i := range n {
		s, err := r.createDataset(ctx, share(float64(r.phase.keys), i, n), share(float64(r.phase.accounts), i, n), "")
		if err != nil {
			return err
		}
		if _, err := r.drive(ctx, s, func(*v1alpha1.APIKey) {}); err != nil {
			return err
		}
		r.tenants = append(r.tenants, s)
	}
	r.keys, r.issued = interleave(r.tenants), time.Since(began)
	_, _, err = r.manager.awaitIdle(ctx, r.phase.keys)
	return err
}

// interleave returns the keys of all datasets, each followed by that of the next dataset.
func interleave(sets []dataset) []*v1alpha1.APIKey {
	var keys []*v1alpha1.APIKey
	for i, more := 0, true; more; i++ {
		more = false
		for _, s := range sets {
			if i < len(s.keys) {
				keys, more = append(keys, s.keys[i]), true
			}
		}
	}
	return keys
}

// schedule requests the rotation of each key at an instant in the near future. Each change of a spec is followed by a write of the
// status, which takes less time than issuing the key. The manager must be idle again before the first rotation is due.
func (r *rotationRun) schedule(ctx context.Context) (err error) {
	const margin = 30 * time.Second
	if r.rotations, err = watchRotations(ctx, r.admin); err != nil {
		return err
	}
	r.first = time.Now().Add(2*r.issued + margin).Truncate(time.Second)
	r.printf("Scheduling their rotation for %s", r.first.Format(time.TimeOnly))
	due := map[*v1alpha1.APIKey]v1alpha1.Instant{}
	for i, key := range r.keys {
		due[key] = v1alpha1.Instant(r.dueAt(i).UTC().Format(time.RFC3339))
	}
	err = parallel(ctx, r.concurrency, r.keys, func(ctx context.Context, key *v1alpha1.APIKey) error {
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"rotation": v1alpha1.Rotation{RequestedAt: due[key]}}})
		if err != nil {
			return err
		}
		return r.admin.Patch(ctx, key.DeepCopy(), client.RawPatch(types.MergePatchType, patch))
	})
	if err != nil {
		return err
	}
	if _, _, err := r.manager.awaitIdle(ctx, 0); err != nil {
		return err
	}
	if time.Now().After(r.first) {
		return errors.New("the manager was not idle before the first rotation was due: there are too many keys for this machine")
	}
	return nil
}

// dueAt returns the instant at which the rotation of the i-th key is due.
func (r *rotationRun) dueAt(i int) time.Time {
	return r.first.Add(rotationPeriod * time.Duration(i) / time.Duration(len(r.keys))).Truncate(time.Second)
}

// rotate waits until all keys are rotated, while another tenant creates keys.
func (r *rotationRun) rotate(ctx context.Context) error {
	before, err := r.served(ctx)
	if err != nil {
		return err
	}
	cpu := processorTime()
	rotated, newKeys := make(chan struct{}), make(chan error, 1)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Until(r.first)):
	}
	r.printf("Rotating")
	go func() { newKeys <- r.createKeys(ctx, rotated) }()
	err = r.rotations.await(ctx, fmt.Sprintf("%d rotations", len(r.keys)), func() bool { return len(r.rotations.at) >= len(r.keys) })
	r.phase.cpu = processorTimeSince(cpu)
	close(rotated)
	if err := errors.Join(err, <-newKeys); err != nil {
		return err
	}
	if _, _, err := r.manager.awaitIdle(ctx, 0); err != nil { // Events are written after the status
		return err
	}
	after, err := r.served(ctx)
	if err != nil {
		return err
	}
	r.phase.requests = withoutNewKeys(after.requests.since(before.requests), len(r.phase.newKeys))
	r.phase.conflicts = after.conflicts - before.conflicts
	r.evaluate()
	return r.manager.Stop(time.Minute)
}

// createKeys creates a key of another tenant, in another namespace and of a new account, every few seconds until done is closed.
func (r *rotationRun) createKeys(ctx context.Context, done <-chan struct{}) error {
	s, err := r.createDataset(ctx, mostNewKeys, mostNewKeys, "")
	if err != nil {
		return err
	}
	turn := time.NewTicker(newKeyInterval)
	defer turn.Stop()
	for _, key := range s.keys {
		one := dataset{namespace: s.namespace, keys: []*v1alpha1.APIKey{key}, accounts: 1}
		took, err := r.drive(ctx, one, func(*v1alpha1.APIKey) {}, client.MatchingFields{"metadata.name": key.Name})
		if err != nil {
			return err
		}
		r.phase.newKeys = append(r.phase.newKeys, took.latencies...)
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-turn.C:
		}
	}
	return nil
}

// withoutNewKeys subtracts the requests that n new keys caused: each its creation, the list that starts its watch, which the API server
// counts as a read because it selects a name, a Secret, a status, an Event, and what its account needed.
func withoutNewKeys(c counts, n int) counts {
	rest := counts{}
	for r, k := range c {
		switch r {
		case request{http.MethodPost, "apikeys"}, request{http.MethodPost, "secrets"},
			request{http.MethodPut, "apikeys/status"}, request{http.MethodPost, "events"}:
			k -= n
		case request{http.MethodGet, "apikeys"}:
			k = max(0, k-n)
		case request{http.MethodGet, "accounts"}, request{http.MethodPost, "accounts"}, request{http.MethodPatch, "accounts"},
			request{http.MethodPut, "accounts/status"}:
			k = 0 // a rotation does not concern the account
		}
		if k != 0 {
			rest[r] = k
		}
	}
	return rest
}

// evaluate calculates the times of the phase.
func (r *rotationRun) evaluate() {
	r.rotations.mu.Lock()
	defer r.rotations.mu.Unlock()
	for i, key := range r.keys {
		at, due := r.rotations.at[client.ObjectKeyFromObject(key)], r.dueAt(i)
		if at.Before(due) {
			r.phase.early++
		}
		r.phase.took = max(r.phase.took, at.Sub(r.first))
		r.phase.delays = append(r.phase.delays, milliseconds(due, at))
	}
}

// cleanUp deletes the objects of the phase. Those of the other tenant stay, because the next phase has another one.
func (r *rotationRun) cleanUp(ctx context.Context) error {
	for _, s := range r.tenants {
		if err := r.bench.cleanUp(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// rotations records when the status of each key reported the rotation that its spec requests.
type rotations struct {
	observer

	at map[types.NamespacedName]time.Time
}

// watchRotations watches all keys until the context ends.
func watchRotations(ctx context.Context, c client.WithWatch) (*rotations, error) {
	w, err := resumingWatch(ctx, c, &v1alpha1.APIKeyList{})
	if err != nil {
		return nil, fmt.Errorf("watch APIKeys: %w", err)
	}
	s := &rotations{observer: newObserver(), at: map[types.NamespacedName]time.Time{}}
	go func() {
		defer w.Stop()
		follow(&s.observer, w, s.observe)
	}()
	return s, nil
}

func (s *rotations) observe(_ watch.EventType, key *v1alpha1.APIKey, at time.Time) {
	name := client.ObjectKeyFromObject(key)
	if _, known := s.at[name]; known || key.Spec.Rotation == nil || key.Status.Rotation.ObservedRequestedAt != key.Spec.Rotation.RequestedAt {
		return
	}
	s.at[name] = at
}
