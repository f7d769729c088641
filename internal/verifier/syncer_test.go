// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// The default error handlers of reflectors share a backoff in real time among all tests of this process.
func init() { utilruntime.ErrorHandlers = nil }

// apiServer simulates an API server with one account, whose store can be rolled back. It behaves like kube-apiserver
// where the Syncer depends on it: a watch from a future resourceVersion hangs without an error.
type apiServer struct {
	client.WithWatch

	mu sync.Mutex
	storeState
	watches []*openWatch
	// unreachable fails all requests, storeDown those that the store answers.
	unreachable, storeDown bool
	// cached holds the state that lists and watches are served from, like kube-apiserver does if its store is rolled
	// back while it runs. If nil, the store serves them.
	cached *storeState
	// streams makes watches send initial events. behind holds the state of a watch cache that lags behind the store, or nil.
	streams bool
	behind  *storeState
}

// storeState holds what a backup contains.
type storeState struct {
	version int
	keys    map[string]*v1alpha1.APIKey
}

type openWatch struct {
	*watch.RaceFreeFakeWatcher

	keys bool
	from int
}

func newAPIServer(list ...*v1alpha1.APIKey) *apiServer {
	a := &apiServer{storeState: storeState{version: 100, keys: map[string]*v1alpha1.APIKey{}}}
	for _, k := range list {
		a.put(k)
	}
	return a
}

func (a *apiServer) put(k *v1alpha1.APIKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	k = k.DeepCopy()
	k.ResourceVersion = strconv.Itoa(a.version)
	a.keys[k.Name] = k
	for _, w := range a.watches {
		if w.keys && !w.IsStopped() && a.version > w.from && a.cached == nil {
			w.Modify(k.DeepCopy())
		}
	}
}

// remove deletes a key. reportDeletion sends the event to watches.
func (a *apiServer) remove(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	delete(a.keys, name)
}

func (a *apiServer) reportDeletion(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.watches {
		if w.keys && !w.IsStopped() {
			w.Delete(&v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, ResourceVersion: strconv.Itoa(a.version)}})
		}
	}
}

func (a *apiServer) backup() storeState {
	a.mu.Lock()
	defer a.mu.Unlock()
	return storeState{a.version, maps.Clone(a.keys)}
}

// restore rolls the store back. Clients stay connected.
func (a *apiServer) restore(to storeState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.storeState = storeState{to.version, maps.Clone(to.keys)}
	for _, w := range a.watches {
		w.from = max(w.from, 0)
	}
}

// disconnect closes all watches.
func (a *apiServer) disconnect() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.watches {
		if !w.IsStopped() {
			w.Stop()
		}
	}
	a.watches = nil
}

func (a *apiServer) setAvailability(unreachable, storeDown bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unreachable, a.storeDown = unreachable, storeDown
}

func (a *apiServer) bookmark(version int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.watches {
		if w.keys && !w.IsStopped() {
			w.Action(watch.Bookmark, &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{ResourceVersion: strconv.Itoa(version)}})
		}
	}
}

var errUnreachable = fmt.Errorf("dial tcp: %w", syscall.ECONNREFUSED)

// List implements client.Client.
func (a *apiServer) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unreachable || a.storeDown {
		return errUnreachable
	}
	from := &a.storeState
	if a.cached != nil {
		from = a.cached
	}
	list.SetResourceVersion(strconv.Itoa(from.version))
	switch list := list.(type) {
	case *v1alpha1.APIKeyList:
		for _, k := range from.keys {
			list.Items = append(list.Items, *k.DeepCopy())
		}
	case *v1alpha1.AccountList:
		list.Items = append(list.Items, *keystest.NewAccount("acme"))
	}
	return nil
}

// Get implements client.Client. The store answers reads of one object.
func (a *apiServer) Get(_ context.Context, name client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.keys[name.Name]
	switch {
	case a.unreachable || a.storeDown:
		return errUnreachable
	case name.Name == "acme":
		o.SetResourceVersion(keystest.NewAccount("acme").ResourceVersion)
		return nil
	case k == nil:
		return apierrors.NewNotFound(schema.GroupResource{}, name.Name)
	}
	o.SetResourceVersion(k.ResourceVersion)
	return nil
}

// serveFromCache makes lists and watches return the current state from memory, or from the store again after a restart
// of the API server.
func (a *apiServer) serveFromCache(running bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cached = nil
	if running {
		a.cached = &storeState{a.version, maps.Clone(a.keys)}
	}
}

// Watch implements client.WithWatch.
func (a *apiServer) Watch(_ context.Context, list client.ObjectList, o ...client.ListOption) (watch.Interface, error) {
	options := (&client.ListOptions{}).ApplyOptions(o)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unreachable {
		return nil, errUnreachable
	}
	switch lists := options.Raw.SendInitialEvents != nil; {
	case lists && a.streams:
		return a.stream(list, options.Raw.ResourceVersion)
	case lists:
		return nil, apierrors.NewBadRequest("sendInitialEvents is not known")
	case a.behind != nil:
		return nil, apierrors.NewResourceExpired("too old resource version")
	}
	from, err := strconv.Atoi(options.Raw.ResourceVersion)
	if err != nil {
		return nil, err
	}
	_, isKeys := list.(*v1alpha1.APIKeyList)
	w := &openWatch{watch.NewRaceFreeFake(), isKeys, from}
	for version := from + 1; isKeys && version <= a.version; version++ {
		for _, k := range a.keys {
			if k.ResourceVersion == strconv.Itoa(version) {
				w.Modify(k.DeepCopy())
			}
		}
	}
	a.watches = append(a.watches, w)
	return w, nil
}

// stream returns a watch that sends a list. A consistent read fails while the watch cache lags behind.
func (a *apiServer) stream(list client.ObjectList, version string) (watch.Interface, error) {
	from := &a.storeState
	if a.behind != nil {
		from = a.behind
		if version == "" {
			return nil, apierrors.NewTimeoutError("too large resource version", 1)
		}
	}
	end := metav1.ObjectMeta{
		ResourceVersion: strconv.Itoa(from.version), Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"},
	}
	_, isKeys := list.(*v1alpha1.APIKeyList)
	w := &openWatch{watch.NewRaceFreeFake(), isKeys, from.version}
	switch list.(type) {
	case *v1alpha1.APIKeyList:
		for _, k := range from.keys {
			w.Add(k.DeepCopy())
		}
		w.Action(watch.Bookmark, &v1alpha1.APIKey{ObjectMeta: end})
	case *v1alpha1.AccountList:
		w.Add(keystest.NewAccount("acme"))
		w.Action(watch.Bookmark, &v1alpha1.Account{ObjectMeta: end})
	default:
		namespaces := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: end}
		w.Action(watch.Bookmark, namespaces)
	}
	a.watches = append(a.watches, w)
	return w, nil
}

// lag makes the watch cache stay behind the store, at a state before, or follow it again if the state is nil.
func (a *apiServer) lag(state *storeState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.behind = state
}

func (a *apiServer) Scheme() *runtime.Scheme { return nil }

// syncerFixture holds a running Syncer and its index.
type syncerFixture struct {
	*apiServer
	*verifier.Syncer
	index *verifier.Index
}

// runSyncer runs a test with a Syncer of a simulated API server, in virtual time.
func runSyncer(t *testing.T, o verifier.SyncerOptions, test func(s *syncerFixture)) {
	t.Helper()
	runSyncerOf(t, false, o, test)
}

// runSyncerOf runs a test with a Syncer of an API server that streams lists, or does not.
func runSyncerOf(t *testing.T, streams bool, o verifier.SyncerOptions, test func(s *syncerFixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		api := newAPIServer(issued(), keystest.Key("other", keystest.Issued(epoch)))
		api.streams = streams
		o.Source, o.Clock, o.Index = api, clock.RealClock{}, verifier.NewIndex()
		s := &syncerFixture{api, verifier.NewSyncer(o), o.Index}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Run(ctx)
		}()
		time.Sleep(5 * time.Second)
		s.expect(t, verifier.Valid)
		test(s)
		stop()
		<-done
	})
}

func (s *syncerFixture) expect(t *testing.T, want verifier.Code) {
	t.Helper()
	synctest.Wait()
	expect(t, s.index, "default/shop", want)
}

// makeChanges makes changes that a backup does not contain.
func (s *syncerFixture) makeChanges() {
	for range 50 {
		s.put(keystest.Key("other", keystest.Issued(epoch)))
	}
	synctest.Wait()
}

var off = keystest.State(v1alpha1.KeyStateInactive)

// A key that is disabled after etcd was restored from a backup is refused, however the rollback is detected, and
// although its resourceVersion is lower than one observed before.
func TestSyncer_DetectsRollback(t *testing.T) {
	t.Parallel()
	for name, restore := range map[string]func(s *syncerFixture, backup storeState){
		"the API server restarted": func(s *syncerFixture, backup storeState) {
			s.setAvailability(true, false)
			s.disconnect()
			time.Sleep(10 * time.Second)
			s.restore(backup)
			s.setAvailability(false, false)
		},
		"watches restarted immediately": func(s *syncerFixture, backup storeState) {
			s.restore(backup)
			s.disconnect()
		},
		"watches hang": func(s *syncerFixture, backup storeState) {
			s.restore(backup)
			s.hangWatches()
		},
		"bookmarks report an earlier version": func(s *syncerFixture, backup storeState) {
			s.restore(backup)
			s.bookmark(backup.version)
		},
	} {
		for _, streams := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, streams=%t", name, streams), func(t *testing.T) {
				t.Parallel()
				runSyncerOf(t, streams, verifier.SyncerOptions{}, func(s *syncerFixture) {
					backup := s.backup()
					s.makeChanges()
					restore(s, backup)
					s.put(issued(off))
					time.Sleep(20 * time.Second)
					s.expect(t, verifier.Inactive)
					if s.Rollbacks() != 1 || !s.index.Complete() {
						t.Errorf("detected %d rollbacks, complete: %t", s.Rollbacks(), s.index.Complete())
					}
					s.put(issued())
					s.expect(t, verifier.Valid)
				})
			})
		}
	}
}

// hangWatches makes watches wait for versions after the newest one that they reported, like etcd does.
func (a *apiServer) hangWatches() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.watches {
		w.from = 1 << 30
	}
}

// An API server that keeps running while its store is rolled back serves stale data. All keys are refused until it
// restarts.
func TestSyncer_RefusesWhileAPIServerServesStaleData(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *syncerFixture){
		"an object has an earlier version": func(s *syncerFixture) { s.makeChanges() },
		"an object is missing":             func(s *syncerFixture) { s.put(keystest.Key("new", keystest.Issued(epoch))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runSyncer(t, verifier.SyncerOptions{}, func(s *syncerFixture) {
				backup := s.backup()
				change(s)
				s.serveFromCache(true)
				s.restore(backup)
				s.put(issued(off))
				for range 10 {
					time.Sleep(32 * time.Second)
					s.expect(t, verifier.NotSynced)
				}
				if s.Rollbacks() != 1 {
					t.Errorf("detected %d rollbacks", s.Rollbacks())
				}
				s.serveFromCache(false)
				s.disconnect()
				time.Sleep(2 * time.Minute)
				s.expect(t, verifier.Inactive)
			})
		})
	}
}

// The most recently changed object is deleted, and the event arrives late.
func TestSyncer_DeletionIsNotARollback(t *testing.T) {
	t.Parallel()
	runSyncer(t, verifier.SyncerOptions{}, func(s *syncerFixture) {
		s.put(keystest.Key("new", keystest.Issued(epoch)))
		for range 20 {
			time.Sleep(16 * time.Second)
			s.expect(t, verifier.Valid)
			s.remove("new")
			time.Sleep(5 * time.Second)
			s.reportDeletion("new")
			s.expect(t, verifier.Valid)
			s.put(keystest.Key("new", keystest.Issued(epoch)))
		}
		if s.Rollbacks() != 0 {
			t.Errorf("detected %d rollbacks", s.Rollbacks())
		}
	})
}

// A store that was rolled back, and has passed the old resourceVersion before a probe, is listed again: a watch would
// resume in the middle.
func TestSyncer_RelistsAfterOvertakenRollback(t *testing.T) {
	t.Parallel()
	runSyncer(t, verifier.SyncerOptions{}, func(s *syncerFixture) {
		backup := s.backup()
		s.makeChanges()
		s.setAvailability(true, false)
		s.disconnect()
		time.Sleep(10 * time.Second)
		s.restore(backup)
		s.put(issued(off))
		s.makeChanges()
		s.makeChanges()
		s.setAvailability(false, false)
		time.Sleep(time.Minute)
		s.expect(t, verifier.Inactive)
	})
}

// After a rollback, all keys are refused until they have been listed again.
func TestSyncer_RefusesAfterRollbackUntilListed(t *testing.T) {
	t.Parallel()
	runSyncer(t, verifier.SyncerOptions{}, func(s *syncerFixture) {
		backup := s.backup()
		s.makeChanges()
		s.restore(backup)
		s.bookmark(backup.version)
		s.setAvailability(true, false)
		s.disconnect()
		s.expect(t, verifier.NotSynced)
		s.setAvailability(false, false)
		time.Sleep(time.Minute)
		s.expect(t, verifier.Valid)
	})
}

// An API server whose watch cache lags, because it is overloaded, is not a rollback. The last list remains in use.
func TestSyncer_LagIsNotARollback(t *testing.T) {
	t.Parallel()
	runSyncerOf(t, true, verifier.SyncerOptions{}, func(s *syncerFixture) {
		s.makeChanges()
		before := s.backup()
		s.lag(&before)
		s.makeChanges()
		time.Sleep(time.Minute) // a probe sees the changes
		s.disconnect()
		time.Sleep(time.Minute)
		s.expect(t, verifier.Valid)
		s.put(issued(off))
		s.lag(nil)
		time.Sleep(time.Minute)
		s.expect(t, verifier.Inactive)
		if s.Rollbacks() != 0 {
			t.Errorf("detected %d rollbacks", s.Rollbacks())
		}
	})
}

// Changes during a probe, and watches that end, are not rollbacks.
func TestSyncer_ChangesAreNotARollback(t *testing.T) {
	t.Parallel()
	runSyncer(t, verifier.SyncerOptions{MaxStaleness: time.Minute}, func(s *syncerFixture) {
		for range 600 {
			s.put(keystest.Key("other", keystest.Issued(epoch)))
			time.Sleep(time.Second)
			s.expect(t, verifier.Valid)
		}
		s.disconnect()
		time.Sleep(10 * time.Second)
		s.expect(t, verifier.Valid)
		if s.Rollbacks() != 0 || s.Age(time.Now()) != 0 {
			t.Errorf("detected %d rollbacks, age %s", s.Rollbacks(), s.Age(time.Now()))
		}
	})
}

func TestSyncer_RefusesBeyondMaxStaleness(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lose func(s *syncerFixture)
		max  time.Duration
		want verifier.Code
	}{
		"the API server is unreachable": {
			func(s *syncerFixture) { s.setAvailability(true, false); s.disconnect() }, 5 * time.Minute,
			verifier.NotSynced,
		},
		"the store is down":            {func(s *syncerFixture) { s.setAvailability(false, true) }, 5 * time.Minute, verifier.NotSynced},
		"no limit":                     {func(s *syncerFixture) { s.setAvailability(true, false); s.disconnect() }, 0, verifier.Valid},
		"a limit that is not exceeded": {func(s *syncerFixture) { s.setAvailability(true, false); s.disconnect() }, time.Hour, verifier.Valid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runSyncer(t, verifier.SyncerOptions{MaxStaleness: tc.max}, func(s *syncerFixture) {
				tc.lose(s)
				time.Sleep(4 * time.Minute)
				s.expect(t, verifier.Valid)
				time.Sleep(2 * time.Minute)
				s.expect(t, tc.want)
				if age := s.Age(time.Now()); age < 5*time.Minute || age > 7*time.Minute {
					t.Errorf("after six minutes the age is %s", age)
				}
				s.setAvailability(false, false)
				time.Sleep(2 * time.Minute)
				s.expect(t, verifier.Valid)
				if s.Age(time.Now()) != 0 || s.Rollbacks() != 0 {
					t.Errorf("age %s, %d rollbacks", s.Age(time.Now()), s.Rollbacks())
				}
			})
		})
	}
}
