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

// SyncerOptions configures a Syncer.
type SyncerOptions struct {
	// Source gets, lists and watches APIKeys, Accounts and Namespaces.
	Source client.WithWatch
	Clock  clock.WithTicker
	Index  *Index
	// MaxStaleness limits how long verdicts are given without a working watch. Zero means no limit.
	MaxStaleness time.Duration
	// Logger receives messages for operators. The zero value discards them.
	Logger logr.Logger
}

// Syncer keeps an Index in sync with the API server. It runs reflectors without informers: the Index is their store, so
// no second copy of an object is kept.
//
// Syncer discards what it has read, and lists everything again, when the store of the API server (etcd) was rolled back
// and when no watch worked for longer than MaxStaleness. The Index gives no verdicts until everything has been listed
// again.
type Syncer struct {
	SyncerOptions
	kinds     [kindCount]*kindSyncer
	rollbacks atomic.Uint64

	mu sync.Mutex
	// cancel ends the current session. It is nil while the session is ending.
	cancel context.CancelFunc
}

const (
	kindKeys = iota
	kindAccounts
	kindNamespaces

	kindCount
)

// NewSyncer returns a Syncer that keeps o.Index in sync.
func NewSyncer(o SyncerOptions) *Syncer {
	namespaces := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	namespaceList := func() client.ObjectList {
		return &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NamespaceList"}}
	}
	s := &Syncer{SyncerOptions: o}
	s.kinds = [kindCount]*kindSyncer{
		kindKeys: {
			name: "apikeys", object: &v1alpha1.APIKey{}, list: func() client.ObjectList { return &v1alpha1.APIKeyList{} },
			listKind: v1alpha1.GroupVersion.WithKind("APIKeyList"), transform: keyStore{o.Index}.transform, store: keyStore{o.Index},
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

// Run keeps the index in sync until ctx is done.
func (s *Syncer) Run(ctx context.Context) {
	for ctx.Err() == nil {
		s.runSession(ctx)
	}
}

// runSession lists and watches everything until ctx is done or the session is invalidated.
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

// startSession resets all kinds and stores the function that cancels the session.
func (s *Syncer) startSession(cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel = cancel
	for _, k := range s.kinds {
		k.reset()
	}
}

// invalidate marks the index as incomplete and cancels the session. It reports whether the session was still running.
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

// completeIfListed marks the index as complete once all kinds have been listed.
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

// handleRollback invalidates the session because the store of the API server returned to an earlier state.
func (s *Syncer) handleRollback(k *kindSyncer, newest, now string) {
	if s.invalidate() {
		s.rollbacks.Add(1)
		s.Logger.Error(errRolledBack, refusing, "resource", k.name, "newestSeen", newest, "now", now)
	}
}

// handleStaleList marks the index as incomplete until k can be listed from the current store.
func (s *Syncer) handleStaleList(k *kindSyncer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Index.Complete() {
		s.rollbacks.Add(1)
	}
	s.Index.SetIncomplete()
	k.reset()
	s.Logger.Error(errStaleList, refusing, "resource", k.name)
}

// refusing is logged with the reason for which the syncer discards what it has read.
const refusing = "Giving no verdicts on the keys of this API server until all have been listed again"

var errRolledBack = errors.New("the store of the API server was rolled back, for example by restoring an etcd backup")

// Rollbacks returns how many rollbacks of the store were detected.
func (s *Syncer) Rollbacks() uint64 { return s.rollbacks.Load() }

// limitStaleness invalidates the session when no watch has worked for longer than MaxStaleness.
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
			s.Logger.Error(errStale, refusing, "maxStaleness", s.MaxStaleness.String())
		}
	}
}

var errStale = errors.New("no watch worked for longer than --max-staleness")

// Age returns for how long the index may have missed changes: the longest time for which a watch has not worked. It
// returns zero while all watches work, and before they first worked.
func (s *Syncer) Age(now time.Time) time.Duration {
	oldest := time.Duration(0)
	for _, k := range s.kinds {
		oldest = max(oldest, k.connection.age(now))
	}
	return oldest
}

// KeysVersion returns the newest resourceVersion of APIKeys that the index has applied, or "" before the first list.
func (s *Syncer) KeysVersion() string { return s.kinds[kindKeys].currentVersion() }

// kindSyncer syncs the objects of one kind.
type kindSyncer struct {
	name     string
	object   client.Object
	list     func() client.ObjectList
	listKind schema.GroupVersionKind
	// transform reduces a listed object to what its store reads.
	transform func(any) any
	store
	source client.WithWatch
	clock  clock.WithTicker
	// onListed is called when the list has replaced the objects in the store.
	onListed func()
	// onRollback is called when the API server reports a resourceVersion earlier than one reported before.
	onRollback func(k *kindSyncer, newest, now string)
	// version holds the newest resourceVersion in the store. It is nil before the first list.
	version atomic.Pointer[string]
	// newest holds the newest resourceVersion that the API server reported, floor the value of newest when the current
	// list was requested.
	newest newestVersion
	floor  atomic.Pointer[string]
	// connection tracks whether the watch works.
	connection connection
	// lastWatch holds the last watch. Only the reflector's goroutine uses it.
	lastWatch *monitoredWatch
	// sentinel holds the most recently changed object. confirm reads that object from the store of the API server.
	sentinel sentinel
	confirm  func() error
	// onStaleList is called when the API server lists objects that its store does not hold.
	onStaleList func(k *kindSyncer)
}

// store receives the objects of a kindSyncer.
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
	k.stopWatch()
}

// stopWatch stops the last watch. The reflector does not if Replace refuses the list that the watch has sent.
func (k *kindSyncer) stopWatch() {
	if k.lastWatch != nil {
		k.lastWatch.Stop()
		k.lastWatch = nil
	}
}

// reset discards all resourceVersions and the sentinel.
func (k *kindSyncer) reset() {
	k.version.Store(nil)
	k.floor.Store(nil)
	k.newest.reset()
	k.sentinel.reset()
}

func (k *kindSyncer) listAll(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	if o.ResourceVersion == "0" {
		o.ResourceVersion = "" // a consistent read: the watch cache of an API server may not yet know that a key was disabled
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
	k.stopWatch()
	if lists := o.SendInitialEvents != nil && *o.SendInitialEvents; lists {
		// A consistent read, as in listAll. Otherwise, an API server whose watch cache lags would send a list that is newer than
		// the last one, but older than what a probe has seen, as if its store had been rolled back.
		o.ResourceVersion = ""
		k.floor.Store(k.newest.load())
	} else if err := k.checkResume(ctx); err != nil {
		return nil, err
	}
	w, err := k.source.Watch(ctx, k.list(), &client.ListOptions{Raw: &o})
	if err != nil {
		k.connection.markFailed(k.clock.Now(), err)
		return nil, err //nolint:wrapcheck // the reflector inspects the type of the error
	}
	k.connection.markOpen(k.clock.Now())
	k.lastWatch = &monitoredWatch{Interface: w, events: k.forward(w)}
	return k.lastWatch, nil
}

// checkResume returns an error, which makes the reflector list again, if resuming the watch could miss changes. While
// the API server was unreachable, its store may have been rolled back and may have passed the old resourceVersion again
// since. A store that is still behind that resourceVersion does not return an error: the watch just delivers no events.
// A probe detects that.
func (k *kindSyncer) checkResume(ctx context.Context) error {
	if k.connection.wasUnreachable() {
		return apierrors.NewResourceExpired("the API server was unreachable: list " + k.name + " again")
	}
	k.probe(ctx)
	return ctx.Err()
}

// monitoredWatch wraps a watch so that the kindSyncer observes its end.
type monitoredWatch struct {
	watch.Interface
	events chan watch.Event
}

// ResultChan implements watch.Interface.
func (w *monitoredWatch) ResultChan() <-chan watch.Event { return w.events }

// Stop implements watch.Interface.
func (w *monitoredWatch) Stop() {
	w.Interface.Stop()
	for range w.events { // drain the channel, so that forward can return
	}
}

// forward copies the events of a watch to the returned channel, and records the end of the watch.
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

// currentVersion returns the newest resourceVersion in the store, or "" before the first list.
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

var errNotAnObject = errors.New("the API server sent a value that is not a Kubernetes object")

// Replace implements cache.ReflectorStore.
func (k *kindSyncer) Replace(list []any, version string) error {
	for _, o := range list {
		k.sentinel.observe(o)
	}
	// This comes first: what confirm finds makes only this kind be listed again, but the others are from the old store as well.
	if floor := k.floor.Load(); floor != nil && isEarlier(version, *floor) {
		k.onRollback(k, *floor, version)
		return errRolledBack
	}
	if err := k.confirm(); err != nil {
		return err
	}
	k.replace(list)
	k.connection.recordList(k.clock.Now())
	k.setVersion(version)
	k.onListed()
	return nil
}

// UpdateResourceVersion implements cache.ResourceVersionUpdater.
func (k *kindSyncer) UpdateResourceVersion(version string) {
	if before := k.currentVersion(); isEarlier(version, before) { // a bookmark from an API server that kept running during the rollback
		k.onRollback(k, before, version)
	}
	k.setVersion(version)
}

// setVersion records the resourceVersion of the objects in the store.
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

// keyStore applies APIKeys to the index.
type keyStore struct{ *Index }

func (x keyStore) put(o any)                   { x.PutKey(o.(*v1alpha1.APIKey)) } //nolint:forcetypeassert // checked by the reflector
func (x keyStore) drop(o types.NamespacedName) { x.DropKey(o) }
func (x keyStore) replace(list []any) {
	records := make([]Entry, 0, len(list))
	for _, o := range list {
		if e, ok := x.transform(o).(Entry); ok { // a list that was not streamed holds untransformed objects
			records = append(records, e)
		}
	}
	x.ReplaceKeys(records)
}

// transform reduces an APIKey to an Entry, so that a list of all keys takes little memory.
func (x keyStore) transform(o any) any {
	if k, ok := o.(*v1alpha1.APIKey); ok {
		return x.stage(NewEntry(k))
	}
	return o
}

// accountStore applies Accounts to the index.
type accountStore struct{ *Index }

func (x accountStore) put(o any) {
	x.PutAccount(o.(*v1alpha1.Account)) //nolint:forcetypeassert // checked by the reflector
}
func (x accountStore) drop(o types.NamespacedName) { x.DropAccount(o.Name) }
func (x accountStore) replace(list []any)          { x.ReplaceAccounts(castAll[*v1alpha1.Account](list)) }

// transformAccount removes the parts of an Account that verdicts do not use.
func transformAccount(o any) any {
	if a, ok := o.(*v1alpha1.Account); ok {
		a.ManagedFields, a.Annotations, a.Status = nil, nil, v1alpha1.AccountStatus{}
	}
	return o
}

// namespaceStore applies the labels of Namespaces to the index.
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

// transformNamespace removes the metadata that verdicts do not use.
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
