// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Feed keeps an index up to date with what the API server tells. It uses reflectors without informers: the index is
// their store, so that no object is kept beside it.
type Feed struct {
	index   *Index
	streams [streamCount]*stream
}

const (
	streamKeys = iota
	streamAccounts
	streamNamespaces

	streamCount
)

// NewFeed returns a feed of an index. The client needs to get, list and watch APIKeys, Accounts and Namespaces.
func NewFeed(source client.WithWatch, clk clock.PassiveClock, index *Index) *Feed {
	namespaces := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	namespaceList := func() client.ObjectList {
		return &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NamespaceList"}}
	}
	f := &Feed{index: index}
	f.streams = [streamCount]*stream{
		streamKeys: {
			name: "apikeys", object: &v1alpha1.APIKey{}, list: func() client.ObjectList { return &v1alpha1.APIKeyList{} },
			strip: stripKey, store: keyStore{index},
		},
		streamAccounts: {
			name: "accounts", object: &v1alpha1.Account{}, list: func() client.ObjectList { return &v1alpha1.AccountList{} },
			strip: stripAccount, store: accountStore{index},
		},
		streamNamespaces: {
			name: "namespaces", object: namespaces, list: namespaceList, strip: stripNamespace, store: namespaceStore{index},
		},
	}
	for _, s := range f.streams {
		s.source, s.clock, s.replaced = source, clk, f.complete
	}
	return f
}

// Run feeds the index until the context ends.
func (f *Feed) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, s := range f.streams {
		wg.Go(func() { s.run(ctx) })
	}
	wg.Wait()
}

// complete lets verdicts begin once everything was listed.
func (f *Feed) complete() {
	for _, s := range f.streams {
		if s.version.Load() == nil {
			return
		}
	}
	f.index.SetComplete()
}

// Age is how long the index has been without word from the API server: zero while it is being told of changes, and
// while it has never been told of anything.
func (f *Feed) Age(now time.Time) time.Duration {
	oldest := time.Duration(0)
	for _, s := range f.streams {
		if lost := s.lost.Load(); lost != nil {
			oldest = max(oldest, now.Sub(*lost))
		}
	}
	return oldest
}

// KeysVersion is the newest resourceVersion of APIKeys that the index enforces; empty: none yet.
func (f *Feed) KeysVersion() string { return f.streams[streamKeys].newest() }

// stream feeds the objects of one kind.
type stream struct {
	name   string
	object client.Object
	list   func() client.ObjectList
	// strip keeps of an object that is listed only what its store reads.
	strip func(any) any
	store
	source client.WithWatch
	clock  clock.PassiveClock
	// replaced is called when everything was listed.
	replaced func()
	// version is the newest that the store has; nil: nothing was listed yet.
	version atomic.Pointer[string]
	// lost is since when nobody has been telling of changes; nil: somebody is.
	lost atomic.Pointer[time.Time]
}

// store is what a stream feeds.
type store interface {
	put(o any)
	drop(o types.NamespacedName)
	replace(list []any)
}

func (s *stream) run(ctx context.Context) {
	watches := &cache.ListWatch{ListWithContextFunc: s.listAll, WatchFuncWithContext: s.watch}
	reflector := cache.NewReflectorWithOptions(watches, s.object, s, cache.ReflectorOptions{Name: s.name})
	reflector.RunWithContext(ctx)
}

func (s *stream) listAll(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	if o.ResourceVersion == "0" {
		o.ResourceVersion = "" // as it is, not as some API server remembers it: a key may have been switched off since
	}
	list := s.list()
	if err := s.source.List(ctx, list, &client.ListOptions{Raw: &o, Limit: o.Limit, Continue: o.Continue}); err != nil {
		s.lose()
		return nil, fmt.Errorf("list %s: %w", s.name, err)
	}
	return list, nil
}

func (s *stream) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	w, err := s.source.Watch(ctx, s.list(), &client.ListOptions{Raw: &o})
	if err != nil {
		s.lose()
		return nil, err //nolint:wrapcheck // the reflector tells errors apart
	}
	s.lost.Store(nil)
	return &contact{Interface: w, events: s.relay(w)}, nil
}

// contact is a watch that knows when it ends.
type contact struct {
	watch.Interface
	events chan watch.Event
}

// ResultChan implements watch.Interface.
func (c *contact) ResultChan() <-chan watch.Event { return c.events }

// Stop implements watch.Interface.
func (c *contact) Stop() {
	c.Interface.Stop()
	for range c.events { // what nobody reads any more would keep the relay waiting
	}
}

func (s *stream) relay(w watch.Interface) chan watch.Event {
	events := make(chan watch.Event)
	go func() {
		defer close(events)
		for e := range w.ResultChan() {
			events <- e
		}
		s.lose()
	}()
	return events
}

func (s *stream) lose() {
	now := s.clock.Now()
	s.lost.CompareAndSwap(nil, &now)
}

func (s *stream) newest() string {
	if v := s.version.Load(); v != nil {
		return *v
	}
	return ""
}

// Add implements cache.ReflectorStore.
func (s *stream) Add(o any) error { return s.Update(o) }

// Update implements cache.ReflectorStore.
func (s *stream) Update(o any) error {
	s.put(o)
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *stream) Delete(o any) error {
	object, ok := o.(client.Object)
	if !ok {
		return errNotAnObject
	}
	s.drop(client.ObjectKeyFromObject(object))
	return nil
}

var errNotAnObject = errors.New("the API server sent something that is not an object")

// Replace implements cache.ReflectorStore.
func (s *stream) Replace(list []any, version string) error {
	s.replace(list)
	s.version.Store(&version)
	s.replaced()
	return nil
}

// UpdateResourceVersion implements cache.ResourceVersionUpdater.
func (s *stream) UpdateResourceVersion(version string) { s.version.Store(&version) }

// Resync implements cache.ReflectorStore.
func (s *stream) Resync() error { return nil }

// Transformer implements cache.TransformingStore.
func (s *stream) Transformer() cache.TransformFunc {
	return func(o any) (any, error) { return s.strip(o), nil }
}

// keyStore feeds APIKeys.
type keyStore struct{ *Index }

func (x keyStore) put(o any)                   { x.PutKey(o.(*v1alpha1.APIKey)) } //nolint:forcetypeassert // checked by the reflector
func (x keyStore) drop(o types.NamespacedName) { x.DropKey(o) }
func (x keyStore) replace(list []any) {
	records := make([]Record, 0, len(list))
	for _, o := range list {
		if r, ok := stripKey(o).(Record); ok { // a list that was not streamed has the objects themselves
			records = append(records, r)
		}
	}
	x.ReplaceKeys(records)
}

// stripKey drops what no verdict needs, so that a list of all keys is short.
func stripKey(o any) any {
	if k, ok := o.(*v1alpha1.APIKey); ok {
		return Read(k)
	}
	return o
}

// accountStore feeds Accounts.
type accountStore struct{ *Index }

func (x accountStore) put(o any)                   { x.PutAccount(o.(*v1alpha1.Account)) } //nolint:forcetypeassert // checked by the reflector
func (x accountStore) drop(o types.NamespacedName) { x.DropAccount(o.Name) }
func (x accountStore) replace(list []any)          { x.ReplaceAccounts(typed[*v1alpha1.Account](list)) }

func stripAccount(o any) any {
	if a, ok := o.(*v1alpha1.Account); ok {
		a.ManagedFields, a.Annotations, a.Status = nil, nil, v1alpha1.AccountStatus{}
	}
	return o
}

// namespaceStore feeds the labels of Namespaces.
type namespaceStore struct{ *Index }

func (x namespaceStore) put(o any) {
	n := o.(*metav1.PartialObjectMetadata) //nolint:forcetypeassert // checked by the reflector
	x.PutNamespace(n.Name, n.Labels)
}
func (x namespaceStore) drop(o types.NamespacedName) { x.DropNamespace(o.Name) }
func (x namespaceStore) replace(list []any) {
	sets := make(map[string]labels.Set, len(list))
	for _, n := range typed[*metav1.PartialObjectMetadata](list) {
		sets[n.Name] = n.Labels
	}
	x.ReplaceNamespaces(sets)
}

func stripNamespace(o any) any {
	if n, ok := o.(*metav1.PartialObjectMetadata); ok {
		n.ManagedFields, n.Annotations = nil, nil
	}
	return o
}

func typed[T any](list []any) []T {
	all := make([]T, 0, len(list))
	for _, o := range list {
		if t, ok := o.(T); ok {
			all = append(all, t)
		}
	}
	return all
}
