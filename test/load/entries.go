// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// observer waits for what a watch receives.
type observer struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced after each event
	err     error
}

func newObserver() observer { return observer{changed: make(chan struct{})} }

// update calls change, and lets all waiting goroutines check again.
func (o *observer) update(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
	close(o.changed)
	o.changed = make(chan struct{})
}

// await waits until holds returns true. It calls it while no event is being recorded.
func (o *observer) await(ctx context.Context, what string, holds func() bool) error {
	for {
		o.mu.Lock()
		done, changed, err := holds(), o.changed, o.err
		o.mu.Unlock()
		switch {
		case done:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		}
	}
}

// follow passes the objects of a watch to observe, with the time at which each was received, until the watch ends.
func follow[T client.Object](o *observer, w watch.Interface, observe func(watch.EventType, T, time.Time)) {
	for event := range w.ResultChan() {
		at := time.Now()
		object, ok := event.Object.(T)
		if !ok {
			break
		}
		o.update(func() { observe(event.Type, object, at) })
	}
	o.update(func() { o.err = errors.New("a watch ended") })
}

// entries records when entries appear in Secrets, and when they vanish.
type entries struct {
	observer

	objects            map[string]map[string][]byte
	present            map[string]int // the number of objects that hold an entry
	appeared, vanished map[string]time.Time
	writes, doubles    int
}

func newEntries() *entries {
	return &entries{
		observer: newObserver(), objects: map[string]map[string][]byte{}, present: map[string]int{},
		appeared: map[string]time.Time{}, vanished: map[string]time.Time{},
	}
}

// watchEntries watches the Secrets that the options select until the context ends.
func watchEntries(ctx context.Context, c client.WithWatch, options ...client.ListOption) (*entries, error) {
	w, err := c.Watch(ctx, &corev1.SecretList{}, options...)
	if err != nil {
		return nil, fmt.Errorf("watch Secrets: %w", err)
	}
	e := newEntries()
	go func() {
		defer w.Stop()
		follow(&e.observer, w, e.observe)
	}()
	return e, nil
}

// observe records what an event changed.
func (e *entries) observe(kind watch.EventType, secret *corev1.Secret, at time.Time) {
	before, after := e.objects[secret.Name], secret.Data
	e.objects[secret.Name] = after
	if kind == watch.Deleted {
		after = nil
		delete(e.objects, secret.Name)
	}
	e.writes++
	for name := range before {
		if _, still := after[name]; still {
			continue
		}
		if e.present[name]--; e.present[name] == 0 {
			delete(e.present, name)
			e.vanished[name] = at
		}
	}
	for name := range after {
		if _, already := before[name]; already {
			continue
		}
		if e.present[name]++; e.present[name] == 1 {
			e.appeared[name] = at
		} else {
			e.doubles++
		}
	}
}

// vanishedAt waits until no object holds an entry, and returns the time at which it vanished.
func (e *entries) vanishedAt(ctx context.Context, name string) (at time.Time, err error) {
	err = e.await(ctx, "entry "+name+" to vanish", func() bool {
		at = e.vanished[name]
		return e.present[name] == 0
	})
	return at, err
}

// appearedAt waits until an object holds an entry, and returns the time at which it appeared.
func (e *entries) appearedAt(ctx context.Context, name string) (at time.Time, err error) {
	err = e.await(ctx, "entry "+name+" to appear", func() bool {
		at = e.appeared[name]
		return e.present[name] > 0
	})
	return at, err
}

// counts returns the number of writes that were received, and how often an entry was in two objects at once.
func (e *entries) counts() (writes, doubles int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.writes, e.doubles
}

// largest returns the name of the largest object, and the size of its names and values in bytes.
func (e *entries) largest() (largest string, size int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for object, data := range e.objects {
		n := 0
		for name, value := range data {
			n += len(name) + len(value)
		}
		if n > size {
			largest, size = object, n
		}
	}
	return largest, size
}

// states records when the status of each key got its current state.
type states struct {
	observer

	state map[string]v1alpha1.ObservedState
	since map[string]time.Time
}

// watchStates watches the keys of a namespace until the context ends.
func watchStates(ctx context.Context, c client.WithWatch, namespace string) (*states, error) {
	w, err := c.Watch(ctx, &v1alpha1.APIKeyList{}, client.InNamespace(namespace))
	if err != nil {
		return nil, fmt.Errorf("watch APIKeys: %w", err)
	}
	s := &states{observer: newObserver(), state: map[string]v1alpha1.ObservedState{}, since: map[string]time.Time{}}
	go func() {
		defer w.Stop()
		follow(&s.observer, w, s.observe)
	}()
	return s, nil
}

func (s *states) observe(_ watch.EventType, key *v1alpha1.APIKey, at time.Time) {
	if s.state[key.Name] != key.Status.State {
		s.state[key.Name], s.since[key.Name] = key.Status.State, at
	}
}

// reachedAt waits until the status of a key has a state, and returns the time at which it got it.
func (s *states) reachedAt(ctx context.Context, name string, state v1alpha1.ObservedState) (at time.Time, err error) {
	err = s.await(ctx, fmt.Sprintf("APIKey %s to be %s", name, state), func() bool {
		at = s.since[name]
		return s.state[name] == state
	})
	return at, err
}
