// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// timing holds how long the keys of a dataset took to become Ready.
type timing struct {
	took      time.Duration // from the first create to the last Ready
	latencies []float64     // in milliseconds, from the answer to a create to Ready
}

// times holds when each key was created, and when it became Ready.
type times struct {
	mu      sync.Mutex
	created map[string]time.Time
	ready   map[string]time.Time
}

// drive creates the keys of a dataset and waits until a watch has received all of them as Ready. It calls created for each
// key.
func (b *bench) drive(ctx context.Context, s dataset, created func(*v1alpha1.APIKey), watched ...client.ListOption) (timing, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := resumingWatch(ctx, b.admin, &v1alpha1.APIKeyList{}, append(watched, client.InNamespace(s.namespace.Name))...)
	if err != nil {
		return timing{}, fmt.Errorf("watch APIKeys: %w", err)
	}
	defer w.Stop()
	t := &times{created: map[string]time.Time{}, ready: map[string]time.Time{}}
	began, creating := time.Now(), make(chan error, 1)
	go func() {
		creating <- parallel(ctx, b.concurrency, s.keys, func(ctx context.Context, key *v1alpha1.APIKey) error {
			if err := b.admin.Create(ctx, key); err != nil {
				return fmt.Errorf("create APIKey %s: %w", key.Name, err)
			}
			t.mu.Lock()
			t.created[key.Name] = time.Now()
			t.mu.Unlock()
			created(key)
			return nil
		})
	}()
	if err := t.awaitReady(ctx, w, creating, len(s.keys)); err != nil {
		return timing{}, err
	}
	return timing{took: time.Since(began), latencies: t.latencies()}, nil
}

// awaitReady reads the watch until n keys are Ready and all have been created.
func (t *times) awaitReady(ctx context.Context, w watch.Interface, creating <-chan error, n int) error {
	for all := false; !all || len(t.ready) < n; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d keys are Ready: %w", len(t.ready), n, context.Cause(ctx))
		case err := <-creating:
			if err != nil {
				return err
			}
			all = true
		case event, open := <-w.ResultChan():
			key, ok := event.Object.(*v1alpha1.APIKey)
			if !open || !ok {
				return errors.New("the watch of APIKeys ended")
			}
			if _, known := t.ready[key.Name]; !known && meta.IsStatusConditionTrue(key.Status.Conditions, v1alpha1.ConditionReady) {
				t.ready[key.Name] = time.Now()
			}
		}
	}
	return nil
}

func (t *times) latencies() []float64 {
	list := make([]float64, 0, len(t.ready))
	for name, ready := range t.ready {
		took := ready.Sub(t.created[name]) // on a busy machine the watch may be read before the answer
		list = append(list, max(0, float64(took)/float64(time.Millisecond)))
	}
	return list
}

// parallel calls do for each item in order, with n concurrent workers. The first error ends it.
func parallel[T any](ctx context.Context, n int, items []T, do func(context.Context, T) error) error {
	queue := make(chan T, len(items))
	for _, item := range items {
		queue <- item
	}
	close(queue)
	return drain(ctx, n, queue, do)
}

// drain calls do for each item of a queue until it is closed, with n concurrent workers. The first error ends it.
func drain[T any](ctx context.Context, n int, queue <-chan T, do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	for range n {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case item, open := <-queue:
					if !open {
						return
					}
					if err := do(ctx, item); err != nil {
						cancel(err)
						return
					}
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}
