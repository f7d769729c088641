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

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// SyncerOptions say what a feed reads, and into which index.
type SyncerOptions struct {
	// Source needs to get, list and watch APIKeys, Accounts and Namespaces.
	Source client.WithWatch
	Clock  clock.WithTicker
	Index  *Index
	// MaxStaleness is how long verdicts are given without a working watch; 0: for as long as it takes.
	MaxStaleness time.Duration
	// Logger receives what an operator has to know; the zero value discards it.
	Logger logr.Logger
}

// Syncer keeps an index up to date with what the API server tells. It uses reflectors without informers: the index is
// their store, so that no object is kept beside it.
//
// What was read is dropped, and read anew, when the API server's store was rolled back, and when there was no working
// watch for longer than MaxStaleness. No verdict is given from then on until everything was listed again.
type Syncer struct {
	SyncerOptions
	kinds     [kindCount]*kindSyncer
	rollbacks atomic.Uint64

	mu sync.Mutex
	// cancel ends the session under way; nil: it is ending.
	cancel context.CancelFunc
}

const (
	kindKeys = iota
	kindAccounts
	kindNamespaces

	kindCount
)

// NewSyncer returns a feed of an index.
func NewSyncer(o SyncerOptions) *Syncer {
	namespaces := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	namespaceList := func() client.ObjectList {
		return &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NamespaceList"}}
	}
	s := &Syncer{SyncerOptions: o}
	s.kinds = [kindCount]*kindSyncer{
		kindKeys: {
			name: "apikeys", object: &v1alpha1.APIKey{}, list: func() client.ObjectList { return &v1alpha1.APIKeyList{} },
			listKind: v1alpha1.GroupVersion.WithKind("APIKeyList"), transform: transformKey, store: keyStore{o.Index},
		},
		kindAccounts: {
			name: "accounts", object: &v1alpha1.Account{}, list: func() client.ObjectList { return &v1alpha1.AccountList{} },
			listKind: v1alpha1.GroupVersion.WithKind("AccountList"), transform: transformAccount, store: accountStore{o.Index},
		},
		kindNamespaces: {
			name: "namespaces", object: namespaces, list: namespaceList,
			listKind: schema.GroupVersionKind{Version: "v1", Kind: "NamespaceList"}, transform: transformNamespace, store: namespaceStore{o.Index},
		},
	}
	for _, k := range s.kinds {
		k.source, k.clock, k.onListed, k.onRollback, k.onStaleList = o.Source, o.Clock, s.completeIfListed, s.handleRollback, s.handleStaleList
	}
	return s
}

// Run feeds the index until the context ends.
func (s *Syncer) Run(ctx context.Context) {
	for ctx.Err() == nil {
		s.runSession(ctx)
	}
}

// runSession lists everything and follows its changes, until the context ends or what was read is dropped.
func (s *Syncer) runSession(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.startSession(cancel)
	var wg sync.WaitGroup
	for _, k := range s.kinds {
		wg.Go(func() { k.run(ctx) })
		wg.Go(func() { k.probeRegularly(ctx) })
	}
	if s.MaxStaleness > 0 {
		wg.Go(func() { s.limitStaleness(ctx) })
	}
	wg.Wait()
}

func (s *Syncer) startSession(cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel = cancel
	for _, k := range s.kinds {
		k.reset()
	}
}

// invalidate ends verdicts and the session. It reports whether the session had not been ended before.
func (s *Syncer) invalidate() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel == nil {
		return false
	}
	s.Index.SetIncomplete()
	s.cancel()
	s.cancel = nil
	return true
}

// completeIfListed lets verdicts begin once everything was listed.
func (s *Syncer) completeIfListed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kinds {
		if k.version.Load() == nil {
			return
		}
	}
	if s.cancel != nil {
		s.Index.SetComplete()
	}
}

// onRollback drops what was read, because the API server's store went back to an earlier state.
func (s *Syncer) handleRollback(k *kindSyncer, newest, now string) {
	if s.invalidate() {
		s.rollbacks.Add(1)
		s.Logger.Error(errRolledBack, "Refusing every request until all keys are listed again", "resource", k.name, "newestSeen", newest, "now", now)
	}
}

// onStaleList ends verdicts until a kind can be listed from the store.
func (s *Syncer) handleStaleList(k *kindSyncer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Index.Complete() {
		s.rollbacks.Add(1)
	}
	s.Index.SetIncomplete()
	k.reset()
	s.Logger.Error(errStaleList, "Refusing every request until all keys are listed again", "resource", k.name)
}

var errRolledBack = errors.New("the API server's store was rolled back, as by restoring a backup of etcd")

// Rollbacks returns how often the API server's store was found to be rolled back.
func (s *Syncer) Rollbacks() uint64 { return s.rollbacks.Load() }

// limitStaleness drops what was read once there was no working watch for longer than MaxStaleness.
func (s *Syncer) limitStaleness(ctx context.Context) {
	const accuracy = 250 * time.Millisecond
	ticker := s.Clock.NewTicker(accuracy)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		if age := s.Age(s.Clock.Now()); age > s.MaxStaleness && s.Index.Complete() && s.invalidate() {
			s.Logger.Error(errStale, "Refusing every request until all keys are listed again", "maxStaleness", s.MaxStaleness.String())
		}
	}
}

var errStale = errors.New("there was no working watch for longer than --max-staleness")

// Age is how long the index has been without word from the API server: zero while it is being told of changes, and
// while it has never been told of anything.
func (s *Syncer) Age(now time.Time) time.Duration {
	oldest := time.Duration(0)
	for _, k := range s.kinds {
		oldest = max(oldest, k.connection.age(now))
	}
	return oldest
}

// KeysVersion is the newest resourceVersion of APIKeys that the index enforces; empty: none yet.
func (s *Syncer) KeysVersion() string { return s.kinds[kindKeys].currentVersion() }

// kindSyncer feeds the objects of one kind.
type kindSyncer struct {
	name     string
	object   client.Object
	list     func() client.ObjectList
	listKind schema.GroupVersionKind
	// transform keeps of an object that is listed only what its store reads.
	transform func(any) any
	store
	source client.WithWatch
	clock  clock.WithTicker
	// onListed is called when everything was listed.
	onListed func()
	// onRollback is called when the API server says that it is at an earlier resourceVersion than before.
	onRollback func(k *kindSyncer, newest, now string)
	// version is the newest that the store has; nil: nothing was listed yet.
	version atomic.Pointer[string]
	// newest is the newest resourceVersion that the API server named; floor is what newest was when the list under way
	// was asked for.
	newest newestVersion
	floor  atomic.Pointer[string]
	// connection is what is known of the watch.
	connection connection
	// sentinel is the object that changed last, and confirm asks the store for it.
	sentinel sentinel
	confirm  func() error
	// onStaleList is called when the API server lists what is not in its store.
	onStaleList func(k *kindSyncer)
}

// store is what a stream feeds.
type store interface {
	put(o any)
	drop(o types.NamespacedName)
	replace(list []any)
}

func (k *kindSyncer) run(ctx context.Context) {
	watches := &cache.ListWatch{ListWithContextFunc: k.listAll, WatchFuncWithContext: k.watch}
	k.confirm = func() error { return k.confirmSentinel(ctx) }
	reflector := cache.NewReflectorWithOptions(watches, k.object, k, cache.ReflectorOptions{Name: k.name})
	reflector.RunWithContext(ctx)
}

// reset forgets what was read, and of which state of the API server's store it was.
func (k *kindSyncer) reset() {
	k.version.Store(nil)
	k.floor.Store(nil)
	k.newest.reset()
	k.sentinel.reset()
}

func (k *kindSyncer) listAll(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	if o.ResourceVersion == "0" {
		o.ResourceVersion = "" // as it is, not as some API server remembers it: a key may have been switched off since
	}
	if o.Continue == "" {
		k.floor.Store(k.newest.load())
	}
	list := k.list()
	if err := k.source.List(ctx, list, &client.ListOptions{Raw: &o, Limit: o.Limit, Continue: o.Continue}); err != nil {
		k.connection.markFailed(k.clock.Now(), err)
		return nil, fmt.Errorf("list %s: %w", k.name, err)
	}
	return list, nil
}

func (k *kindSyncer) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if lists := o.SendInitialEvents != nil && *o.SendInitialEvents; lists {
		k.floor.Store(k.newest.load())
	} else if err := k.checkResume(ctx); err != nil {
		return nil, err
	}
	w, err := k.source.Watch(ctx, k.list(), &client.ListOptions{Raw: &o})
	if err != nil {
		k.connection.markFailed(k.clock.Now(), err)
		return nil, err //nolint:wrapcheck // the reflector tells errors apart
	}
	k.connection.markOpen(k.clock.Now())
	return &monitoredWatch{Interface: w, events: k.forward(w)}, nil
}

// checkResume returns an error that has the reflector list anew if changes could be missed by going on from where the last
// watch ended. While the API server was away, its store may have been put back, and may have come past the old
// resourceVersion again since. A store that was put back and is still behind leaves a watch hanging: no error tells.
func (k *kindSyncer) checkResume(ctx context.Context) error {
	if k.connection.wasUnreachable() {
		return apierrors.NewResourceExpired("the API server was away: list " + k.name + " anew")
	}
	k.probe(ctx)
	return ctx.Err()
}

// monitoredWatch is a watch that knows when it ends.
type monitoredWatch struct {
	watch.Interface
	events chan watch.Event
}

// ResultChan implements watch.Interface.
func (w *monitoredWatch) ResultChan() <-chan watch.Event { return w.events }

// Stop implements watch.Interface.
func (w *monitoredWatch) Stop() {
	w.Interface.Stop()
	for range w.events { // what nobody reads any more would keep the relay waiting
	}
}

func (k *kindSyncer) forward(w watch.Interface) chan watch.Event {
	events := make(chan watch.Event)
	go func() {
		defer close(events)
		for e := range w.ResultChan() {
			events <- e
		}
		k.connection.markClosed(k.clock.Now())
	}()
	return events
}

func (k *kindSyncer) currentVersion() string {
	if v := k.version.Load(); v != nil {
		return *v
	}
	return ""
}

// Add implements cache.ReflectorStore.
func (k *kindSyncer) Add(o any) error { return k.Update(o) }

// Update implements cache.ReflectorStore.
func (k *kindSyncer) Update(o any) error {
	k.sentinel.observe(o)
	k.put(o)
	return nil
}

// Delete implements cache.ReflectorStore.
func (k *kindSyncer) Delete(o any) error {
	object, ok := o.(client.Object)
	if !ok {
		return errNotAnObject
	}
	k.sentinel.forget(client.ObjectKeyFromObject(object))
	k.drop(client.ObjectKeyFromObject(object))
	return nil
}

var errNotAnObject = errors.New("the API server sent something that is not an object")

// Replace implements cache.ReflectorStore.
func (k *kindSyncer) Replace(list []any, version string) error {
	for _, o := range list {
		k.sentinel.observe(o)
	}
	if err := k.confirm(); err != nil {
		return err
	}
	k.replace(list)
	k.connection.recordList(k.clock.Now())
	if floor := k.floor.Load(); floor != nil && isEarlier(version, *floor) {
		k.onRollback(k, *floor, version)
	}
	k.setVersion(version)
	k.onListed()
	return nil
}

// UpdateResourceVersion implements cache.ResourceVersionUpdater.
func (k *kindSyncer) UpdateResourceVersion(version string) {
	if before := k.currentVersion(); isEarlier(version, before) { // a bookmark, of an API server that was left running
		k.onRollback(k, before, version)
	}
	k.setVersion(version)
}

// setVersion takes note of the resourceVersion that the store has now.
func (k *kindSyncer) setVersion(version string) {
	k.version.Store(&version)
	k.newest.observe(version)
}

// Resync implements cache.ReflectorStore.
func (k *kindSyncer) Resync() error { return nil }

// Transformer implements cache.TransformingStore.
func (k *kindSyncer) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		k.sentinel.observe(o)
		return k.transform(o), nil
	}
}

// keyStore feeds APIKeys.
type keyStore struct{ *Index }

func (x keyStore) put(o any)                   { x.PutKey(o.(*v1alpha1.APIKey)) } //nolint:forcetypeassert // checked by the reflector
func (x keyStore) drop(o types.NamespacedName) { x.DropKey(o) }
func (x keyStore) replace(list []any) {
	records := make([]Entry, 0, len(list))
	for _, o := range list {
		if e, ok := transformKey(o).(Entry); ok { // a list that was not streamed has the objects themselves
			records = append(records, e)
		}
	}
	x.ReplaceKeys(records)
}

// transformKey drops what no verdict needs, so that a list of all keys is short.
func transformKey(o any) any {
	if k, ok := o.(*v1alpha1.APIKey); ok {
		return NewEntry(k)
	}
	return o
}

// accountStore feeds Accounts.
type accountStore struct{ *Index }

func (x accountStore) put(o any)                   { x.PutAccount(o.(*v1alpha1.Account)) } //nolint:forcetypeassert // checked by the reflector
func (x accountStore) drop(o types.NamespacedName) { x.DropAccount(o.Name) }
func (x accountStore) replace(list []any)          { x.ReplaceAccounts(castAll[*v1alpha1.Account](list)) }

func transformAccount(o any) any {
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
	for _, n := range castAll[*metav1.PartialObjectMetadata](list) {
		sets[n.Name] = n.Labels
	}
	x.ReplaceNamespaces(sets)
}

func transformNamespace(o any) any {
	if n, ok := o.(*metav1.PartialObjectMetadata); ok {
		n.ManagedFields, n.Annotations = nil, nil
	}
	return o
}

func castAll[T any](list []any) []T {
	all := make([]T, 0, len(list))
	for _, o := range list {
		if t, ok := o.(T); ok {
			all = append(all, t)
		}
	}
	return all
}
