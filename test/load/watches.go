// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// watched is a kind of objects that the manager watches, and the selector of its watch.
type watched struct {
	list   client.ObjectList
	filter []client.ListOption
}

// managerWatches returns what the cache of the manager watches with the flags that the benchmark sets: custom resources as JSON,
// and the metadata of its Secrets and of all Namespaces as protobuf. checkWatches fails if the manager has other watches.
func managerWatches() []watched {
	metadata := func(kind string) client.ObjectList {
		return &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: corev1.SchemeGroupVersion.String(), Kind: kind}}
	}
	return []watched{
		{list: &v1alpha1.APIKeyList{}},
		{list: &v1alpha1.AccountList{}},
		{list: &v1alpha1.KeyExportList{}},
		{list: metadata("SecretList"), filter: []client.ListOption{client.MatchingLabels{keys.LabelManagedBy: keys.ManagedBy}}},
		{list: metadata("NamespaceList")},
	}
}

// heldWatches are open watches whose events are decoded and dropped.
type heldWatches struct {
	open []watch.Interface
	// ended receives an error for each watch that ends before stop.
	ended chan error
}

// holdWatches opens the watches of the manager, with its identity.
func (b *bench) holdWatches(ctx context.Context) (*heldWatches, error) {
	all := managerWatches()
	h := &heldWatches{ended: make(chan error, len(all))}
	for _, kind := range all {
		w, err := resumingWatch(ctx, b.issuer, kind.list, kind.filter...)
		if err != nil {
			h.stop()
			return nil, fmt.Errorf("watch %T: %w", kind.list, err)
		}
		h.open = append(h.open, w)
		go func() {
			for range w.ResultChan() { // receiving an event decodes it
			}
			h.ended <- fmt.Errorf("the watch of %T ended", kind.list)
		}()
	}
	return h, nil
}

// resumingWatch opens a watch that starts now, and that continues where it ended: on a busy machine, the API server ends watches
// that it can't serve in time. It ends with the context.
func resumingWatch(ctx context.Context, c client.WithWatch, list client.ObjectList, filter ...client.ListOption) (watch.Interface, error) {
	if err := c.List(ctx, list, append(slices.Clone(filter), client.Limit(1))...); err != nil {
		return nil, err
	}
	again := func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		return c.Watch(ctx, list, append(slices.Clone(filter), &client.ListOptions{Raw: &o})...)
	}
	return watchtools.NewRetryWatcherWithContext(ctx, list.GetResourceVersion(), &cache.ListWatch{WatchFuncWithContext: again})
}

// failure returns an error if a watch has ended.
func (h *heldWatches) failure() error {
	select {
	case err := <-h.ended:
		return err
	default:
		return nil
	}
}

// stop ends all watches.
func (h *heldWatches) stop() {
	for _, w := range h.open {
		w.Stop()
	}
}

// watchCounts is the number of open watches by resource.
type watchCounts map[string]int

// openWatches returns the watches that are open at the API server.
func (b *bench) openWatches(ctx context.Context) (watchCounts, error) {
	metrics, err := scrape(ctx, b.server, b.url("/metrics"))
	return watchesServed(metrics), err
}

// watchesServed returns the watches that are open at the API server, including its own, from its metrics.
func watchesServed(metrics []sample) watchCounts {
	open := watchCounts{}
	for _, s := range metrics {
		if s.name == metricLongRunning && s.labels["verb"] == "WATCH" && s.value > 0 {
			open[s.labels["resource"]] += int(s.value)
		}
	}
	return open
}

// errOtherWatches means that the bare client does not hold the watches of the manager.
var errOtherWatches = errors.New("the bare client holds other watches than the manager")

// checkWatches compares the open watches with those that were open while only a manager ran. It tries again for a moment, because
// the API server counts a watch until it notices that the client has ended it.
func (b *bench) checkWatches(ctx context.Context) error {
	const tries = 40
	var open watchCounts
	for range tries {
		var err error
		if open, err = b.openWatches(ctx); err != nil || maps.Equal(open, b.watches) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollInterval):
		}
	}
	return fmt.Errorf("%w: %v instead of %v", errOtherWatches, open, b.watches)
}
