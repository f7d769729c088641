// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// writeRecorder records every version of every key, account, Secret and Event of the run. The resource versions of all kinds come
// from one sequence, so that the records of several watches can be put in one order.
type writeRecorder struct {
	ctx     context.Context //nolint:containedctx // the watches run until it ends
	mu      sync.Mutex
	writes  []write
	gaps    []uint64                   // versions before which records may be missing
	watches map[string]watch.Interface // by kind
	// subscribers are called for each write.
	subscribers map[int]func(write)
	nextID      int
}

// write is one recorded write.
type write struct {
	version uint64
	kind    string
	deleted bool
	object  client.Object
	seen    time.Time
}

const (
	kindKey     = "APIKey"
	kindAccount = "Account"
	kindSecret  = "Secret"
	kindEvent   = "Event"
)

func newWriteRecorder(ctx context.Context) *writeRecorder {
	GinkgoHelper()
	h := &writeRecorder{ctx: ctx, watches: map[string]watch.Interface{}, subscribers: map[int]func(write){}}
	h.watchKind(kindKey, &v1alpha1.APIKeyList{})
	h.watchKind(kindAccount, &v1alpha1.AccountList{})
	h.watchKind(kindSecret, &corev1.SecretList{})
	h.watchKind(kindEvent, &eventsv1.EventList{})
	return h
}

// watchKind watches a kind. A watch that ends is continued from its last version, so that no write is missed.
func (h *writeRecorder) watchKind(kind string, list client.ObjectList) {
	GinkgoHelper()
	Expect(admin.List(h.ctx, list)).To(Succeed())
	from := list.GetResourceVersion()
	go func() {
		defer GinkgoRecover()
		for h.ctx.Err() == nil {
			w, err := admin.Watch(h.ctx, list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: from, AllowWatchBookmarks: true}})
			if err != nil {
				pause(h.ctx, pollInterval)
				continue
			}
			h.setWatch(kind, w)
			from = h.readWatch(kind, from, w)
			if from == "" {
				from = h.relist(kind, list)
			}
		}
	}()
}

func (h *writeRecorder) setWatch(kind string, w watch.Interface) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watches[kind] = w
}

// restartWatches restarts all watches.
func (h *writeRecorder) restartWatches() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.watches {
		w.Stop()
	}
}

// readWatch records the events of a watch until it ends, and returns the last version. It returns an empty string if the API server no
// longer has the following versions.
func (h *writeRecorder) readWatch(kind, from string, w watch.Interface) string {
	defer w.Stop()
	for e := range w.ResultChan() {
		switch object, ok := e.Object.(client.Object); {
		case !ok && apierrors.IsResourceExpired(apierrors.FromObject(e.Object)):
			return ""
		case !ok:
			return from
		case e.Type != watch.Bookmark:
			h.add(kind, e.Type == watch.Deleted, object)
			fallthrough
		default:
			from = object.GetResourceVersion()
		}
	}
	return from
}

// relist continues from the current objects. The API server drops the past versions of a kind when its CRD changes. They are then
// missing from the records, and replay fails if it needs them.
func (h *writeRecorder) relist(kind string, list client.ObjectList) string {
	if err := admin.List(h.ctx, list); err != nil {
		return "0"
	}
	have := h.latest(kind)
	for _, o := range objectsOf(list) {
		if have[o.GetUID()].version < parseVersion(o.GetResourceVersion()) {
			h.add(kind, false, o)
		}
		delete(have, o.GetUID())
	}
	at := parseVersion(list.GetResourceVersion())
	for _, gone := range have {
		if !gone.deleted {
			o := gone.object.DeepCopyObject().(client.Object)
			o.SetResourceVersion(list.GetResourceVersion())
			h.add(kind, true, o)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gaps = append(h.gaps, at)
	return list.GetResourceVersion()
}

// latest returns the latest write of each object of a kind.
func (h *writeRecorder) latest(kind string) map[types.UID]write {
	have := map[types.UID]write{}
	for _, e := range h.all() {
		if e.kind == kind {
			have[e.object.GetUID()] = e
		}
	}
	return have
}

func (h *writeRecorder) add(kind string, deleted bool, object client.Object) {
	object.SetManagedFields(nil)
	e := write{version: parseVersion(object.GetResourceVersion()), kind: kind, deleted: deleted, object: object, seen: time.Now()}
	h.mu.Lock()
	h.writes = append(h.writes, e)
	subscribers := slices.Collect(maps.Values(h.subscribers))
	h.mu.Unlock()
	for _, tell := range subscribers {
		tell(e)
	}
}

// subscribe calls tell for each following write, until the spec ends.
func (h *writeRecorder) subscribe(tell func(write)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := h.nextID
	h.nextID++
	h.subscribers[id] = tell
	DeferCleanup(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subscribers, id)
	})
}

// all returns the writes so far, in order.
func (h *writeRecorder) all() []write {
	h.mu.Lock()
	list := slices.Clone(h.writes)
	h.mu.Unlock()
	slices.SortStableFunc(list, func(a, b write) int { return cmp.Compare(a.version, b.version) })
	return list
}

// versionsOf returns the versions of one object, in order.
func (h *writeRecorder) versionsOf(kind string, uid types.UID) []write {
	return slices.DeleteFunc(h.all(), func(e write) bool { return e.kind != kind || e.object.GetUID() != uid })
}

// catchUp waits until everything that was written before the call has been recorded.
func (h *writeRecorder) catchUp(ctx context.Context) {
	GinkgoHelper()
	for kind, list := range map[string]client.ObjectList{kindKey: &v1alpha1.APIKeyList{}, kindSecret: &corev1.SecretList{}, kindAccount: &v1alpha1.AccountList{}} {
		Expect(admin.List(ctx, list)).To(Succeed())
		Eventually(func() string { return h.missing(kind, list) }).WithContext(ctx).Should(BeEmpty(), "the watch of %s lags", kind)
	}
}

// missing describes a difference between a list and the records: a version or a deletion that has not been recorded yet. It
// returns an empty string if there is none.
func (h *writeRecorder) missing(kind string, list client.ObjectList) string {
	have := h.latest(kind)
	for _, o := range objectsOf(list) {
		if e := have[o.GetUID()]; e.version < parseVersion(o.GetResourceVersion()) {
			return fmt.Sprintf("%s %s: version %s, have %d", kind, o.GetName(), o.GetResourceVersion(), e.version)
		}
		delete(have, o.GetUID())
	}
	for _, e := range have {
		if !e.deleted && e.version <= parseVersion(list.GetResourceVersion()) {
			return fmt.Sprintf("%s %s is gone", kind, e.object.GetName())
		}
	}
	return ""
}

func parseVersion(version string) uint64 {
	n, err := strconv.ParseUint(version, 10, 64)
	Expect(err).NotTo(HaveOccurred())
	return n
}

func objectsOf(list client.ObjectList) []client.Object {
	objects, err := meta.ExtractList(list)
	Expect(err).NotTo(HaveOccurred())
	var found []client.Object
	for _, o := range objects {
		found = append(found, o.(client.Object))
	}
	return found
}

// snapshot is the state after one write: the existing keys, and how many Secrets each of them controls.
type snapshot struct {
	write
	keys    map[types.UID]*v1alpha1.APIKey
	secrets map[types.UID]int
}

// holders returns how many keys of an account have a credential or a Secret.
func (m *snapshot) holders(account string) int {
	return m.count(account, func(k *v1alpha1.APIKey) bool { return len(k.Status.Credentials) > 0 || m.secrets[k.UID] > 0 })
}

// activeKeys returns how many keys of an account verifiers accept.
func (m *snapshot) activeKeys(account string) int {
	return m.count(account, func(k *v1alpha1.APIKey) bool { return k.Status.State == v1alpha1.StateActive })
}

func (m *snapshot) count(account string, is func(*v1alpha1.APIKey) bool) int {
	n := 0
	for _, k := range m.keys {
		if k.Spec.Account == account && is(k) {
			n++
		}
	}
	return n
}

// replay calls look with the state after each write of a key of an account or of a Secret, in order, and returns the number of
// writes.
func (h *writeRecorder) replay(account string, look func(*snapshot)) (writes int) {
	m := &snapshot{keys: map[types.UID]*v1alpha1.APIKey{}, secrets: map[types.UID]int{}}
	owners := map[types.UID]types.UID{} // of Secrets
	for _, e := range h.all() {
		switch o := e.object.(type) {
		case *v1alpha1.APIKey:
			if o.Spec.Account != account {
				continue
			}
			if len(m.keys) == 0 {
				h.expectNoGapSince(e.version)
			}
			m.keys[o.UID] = o
			if e.deleted {
				delete(m.keys, o.UID)
			}
		case *corev1.Secret:
			m.secrets[owners[o.UID]]--
			owners[o.UID] = ""
			if owner := metav1.GetControllerOf(o); owner != nil && !e.deleted {
				owners[o.UID] = owner.UID
			}
			m.secrets[owners[o.UID]]++
		default:
			continue
		}
		writes++
		m.write = e
		look(m)
	}
	return writes
}

func (h *writeRecorder) expectNoGapSince(version uint64) {
	GinkgoHelper()
	h.mu.Lock()
	defer h.mu.Unlock()
	Expect(slices.ContainsFunc(h.gaps, func(gap uint64) bool { return gap > version })).To(BeFalse(), "the API server dropped versions; run the test again")
}

// awaitQuiet waits until nothing has been written for quietPeriod.
func (h *writeRecorder) awaitQuiet(ctx context.Context) {
	GinkgoHelper()
	Eventually(func() time.Duration {
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.writes) == 0 {
			return 0
		}
		return time.Since(h.writes[len(h.writes)-1].seen)
	}).WithContext(ctx).Should(BeNumerically(">", quietPeriod))
}
