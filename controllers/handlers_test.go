// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// recordingQueue records the requests that are added.
type recordingQueue struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]

	names  []string
	delays []time.Duration
}

func (w *recordingQueue) Add(r reconcile.Request) { w.AddAfter(r, 0) }

func (w *recordingQueue) AddAfter(r reconcile.Request, d time.Duration) {
	w.names = append(w.names, r.String())
	w.delays = append(w.delays, d)
}

// newWatchFixture returns a fixture with an account, a key with a slot, a key that waits, and a key of another account
// in the same namespace.
func newWatchFixture(t *testing.T) (w *fixture, holder, waits *v1alpha1.APIKey) {
	t.Helper()
	holder, waits = keystest.Key("holder", keystest.Label("shop")), keystest.Key("waits", keystest.Label("shop"))
	w = newFixture(t, keystest.NewAccount("acme", keystest.Slots(holder)), holder, waits, keystest.Key("other", keystest.Account("zeta"), keystest.Label("shop")))
	return w, holder, waits
}

func TestWatches_AccountEnqueuesItsKeys(t *testing.T) {
	t.Parallel()
	w, holder, waits := newWatchFixture(t)
	h := w.keys().accountHandler()
	was := keystest.NewAccount("acme", keystest.Slots(holder))
	update := func(change func(*v1alpha1.Account)) func(*recordingQueue) {
		is := was.DeepCopy()
		change(is)
		return func(q *recordingQueue) { h.Update(t.Context(), event.UpdateEvent{ObjectOld: was, ObjectNew: is}, q) }
	}
	both := []string{"default/holder", "default/waits"}
	for name, tc := range map[string]struct {
		do   func(*recordingQueue)
		want []string
	}{
		"it is created": {func(q *recordingQueue) { h.Create(t.Context(), event.CreateEvent{Object: was}, q) }, both},
		"it existed before": {func(q *recordingQueue) {
			h.Create(t.Context(), event.CreateEvent{Object: was, IsInInitialList: true}, q)
		}, nil},
		"it is deleted":      {func(q *recordingQueue) { h.Delete(t.Context(), event.DeleteEvent{Object: was}, q) }, both},
		"its spec changes":   {update(func(a *v1alpha1.Account) { a.Generation++ }), both},
		"only counts change": {update(func(a *v1alpha1.Account) { a.Status.Keys = &v1alpha1.KeyCounts{Usage: "1/5"} }), nil},
		"its ID is taken": {update(func(a *v1alpha1.Account) {
			a.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonExternalIDTaken}}
		}), both},
		"its annotation is added or removed": {update(func(a *v1alpha1.Account) {
			a.Annotations = map[string]string{v1alpha1.CreatedByAnnotation: v1alpha1.CreatedByManager}
		}), both},
		"another gets a slot": {update(func(a *v1alpha1.Account) { a.Status.Slots = append(a.Status.Slots, keystest.SlotOf(waits, "9")) }), both}, // both request the same label
		"a slot is released":  {update(func(a *v1alpha1.Account) { a.Status.Slots = nil }), both},
		"a grant is renewed":  {update(func(a *v1alpha1.Account) { a.Status.Slots[0].Grant = "9" }), both},
		"a label is recorded": {update(func(a *v1alpha1.Account) { a.Status.Slots[0].Label = "new" }), both},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := &recordingQueue{}
			tc.do(q)
			slices.Sort(q.names)
			if diff := cmp.Diff(tc.want, q.names); diff != "" {
				t.Errorf("enqueued (-want +got):\n%s", diff)
			}
		})
	}
}

// Keys that wait are not enqueued each time that another key gets a slot.
func TestWatches_SlotEnqueuesItsKeyOnly(t *testing.T) {
	t.Parallel()
	first, second, third, shared := keystest.Key("first"), keystest.Key("second"), keystest.Key("third", keystest.Label("shop")), keystest.Key("shared", keystest.Label("shop"))
	w := newFixture(t, first, second, third, shared)
	h := w.keys().accountHandler()
	sharing := keystest.Policy(func(a *v1alpha1.AccountSpec) { a.LabelPolicy = v1alpha1.LabelShared })
	account := func(limit int32, holders []*v1alpha1.APIKey, options ...keystest.AccountOption) *v1alpha1.Account {
		return keystest.NewAccount("acme", append([]keystest.AccountOption{keystest.MaxKeys(limit), keystest.Slots(holders...)}, options...)...)
	}
	type list = []*v1alpha1.APIKey
	for name, tc := range map[string]struct {
		was, is *v1alpha1.Account
		want    []string
	}{
		"a slot passes on while the account is full": {account(1, list{first}), account(1, list{second}), []string{"default/first", "default/second"}},
		"a slot of many is assigned":                 {account(5, list{first}), account(5, list{first, second}), []string{"default/second"}},
		"the account becomes full":                   {account(2, list{first}), account(2, list{first, second}), []string{"default/second", "default/shared", "default/third"}},
		"the account is no longer full":              {account(1, list{first}), account(1, nil), []string{"default/first", "default/second", "default/shared", "default/third"}},
		"a label is taken":                           {account(5, list{first}), account(5, list{first, third}), []string{"default/shared", "default/third"}},
		"a label that several may have":              {account(5, list{first}, sharing), account(5, list{first, third}, sharing), []string{"default/third"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := &recordingQueue{}
			h.Update(t.Context(), event.UpdateEvent{ObjectOld: tc.was, ObjectNew: tc.is}, q)
			slices.Sort(q.names)
			if diff := cmp.Diff(tc.want, slices.Compact(q.names)); diff != "" {
				t.Errorf("enqueued (-want +got):\n%s", diff)
			}
		})
	}
}

// The keys of an account that the manager created wait for its status after a user has changed it.
func TestWatches_ObservedAccountEnqueuesAllKeys(t *testing.T) {
	t.Parallel()
	w, holder, _ := newWatchFixture(t)
	was := keystest.NewAccount("acme", keystest.CreatedByManager(), keystest.Slots(holder), keystest.Written(2, 1))
	is := was.DeepCopy()
	is.Status.ObservedGeneration = 2
	q := &recordingQueue{}
	w.keys().accountHandler().Update(t.Context(), event.UpdateEvent{ObjectOld: was, ObjectNew: is}, q)
	slices.Sort(q.names)
	if diff := cmp.Diff([]string{"default/holder", "default/waits"}, q.names); diff != "" {
		t.Errorf("enqueued (-want +got):\n%s", diff)
	}
}

func TestWatches_ExternalIDEnqueuesItsAccounts(t *testing.T) {
	t.Parallel()
	account := func(name, id string) *v1alpha1.Account {
		return keystest.NewAccount(name, keystest.Policy(func(a *v1alpha1.AccountSpec) { a.ExternalID = id }))
	}
	w := newFixture(t, account("acme", "4711"), account("bob", "4711"), account("eva", "4712"), account("none", ""))
	h := w.accounts().externalIDHandler()
	for name, tc := range map[string]struct {
		do   func(*recordingQueue)
		want []string
	}{
		"one is created":               {func(q *recordingQueue) { h.Create(t.Context(), event.CreateEvent{Object: account("acme", "4711")}, q) }, []string{"/acme", "/bob"}},
		"one is deleted":               {func(q *recordingQueue) { h.Delete(t.Context(), event.DeleteEvent{Object: account("zoe", "4711")}, q) }, []string{"/acme", "/bob"}},
		"one without an ID is deleted": {func(q *recordingQueue) { h.Delete(t.Context(), event.DeleteEvent{Object: account("zoe", "")}, q) }, nil},
		"one changes": {func(q *recordingQueue) {
			h.Update(t.Context(), event.UpdateEvent{ObjectOld: account("zoe", "4711"), ObjectNew: account("zoe", "4712")}, q)
		}, []string{"/acme", "/bob", "/eva"}},
		"another field changes": {func(q *recordingQueue) {
			h.Update(t.Context(), event.UpdateEvent{ObjectOld: account("zoe", "4711"), ObjectNew: account("zoe", "4711")}, q)
		}, nil},
		"they existed before": {func(q *recordingQueue) {
			h.Create(t.Context(), event.CreateEvent{Object: account("acme", "4711"), IsInInitialList: true}, q)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := &recordingQueue{}
			tc.do(q)
			slices.Sort(q.names)
			if diff := cmp.Diff(tc.want, q.names); diff != "" {
				t.Errorf("enqueued (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWatches_LabelEnqueuesKeysThatRequestIt(t *testing.T) {
	t.Parallel()
	w, holder, _ := newWatchFixture(t)
	h := w.keys().siblingHandler()
	both, other := []string{"default/holder", "default/waits"}, []string{"default/waits"}
	update := func(was, is *v1alpha1.APIKey) func(*recordingQueue) {
		return func(q *recordingQueue) { h.Update(t.Context(), event.UpdateEvent{ObjectOld: was, ObjectNew: is}, q) }
	}
	unnamed := keystest.Key("unnamed")
	for name, tc := range map[string]struct {
		do   func(*recordingQueue)
		want []string
	}{
		"its key is deleted":       {func(q *recordingQueue) { h.Delete(t.Context(), event.DeleteEvent{Object: holder}, q) }, other},
		"its key is renamed":       {update(holder, keystest.Key("holder", keystest.Label("new"))), other},
		"its key drops it":         {update(holder, keystest.Key("holder")), other},
		"another field changes":    {update(holder, keystest.Key("holder", keystest.Label("shop"), keystest.Scopes("a"))), nil},
		"a key takes it":           {update(unnamed, keystest.Key("unnamed", keystest.Label("shop"))), both},
		"a key is created with it": {func(q *recordingQueue) { h.Create(t.Context(), event.CreateEvent{Object: holder}, q) }, other},
		"a manager starts": {func(q *recordingQueue) {
			h.Create(t.Context(), event.CreateEvent{Object: holder, IsInInitialList: true}, q)
		}, nil},
		"a key without a label is deleted": {func(q *recordingQueue) { h.Delete(t.Context(), event.DeleteEvent{Object: unnamed}, q) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := &recordingQueue{}
			tc.do(q)
			slices.Sort(q.names)
			if diff := cmp.Diff(tc.want, q.names); diff != "" {
				t.Errorf("enqueued (-want +got):\n%s", diff)
			}
		})
	}
}

// Many keys with the same label cost each of them nothing if their account allows that.
func TestWatches_SharedLabelEnqueuesNothing(t *testing.T) {
	t.Parallel()
	shop := keystest.Key("shop", keystest.Label("shop"))
	sharing := keystest.Policy(func(a *v1alpha1.AccountSpec) { a.LabelPolicy = v1alpha1.LabelShared })
	w := newFixture(t, keystest.NewAccount("acme", sharing), shop, keystest.Key("other", keystest.Label("shop")))
	q := &recordingQueue{}
	w.keys().siblingHandler().Delete(t.Context(), event.DeleteEvent{Object: shop}, q)
	if len(q.names) > 0 {
		t.Errorf("enqueued %v", q.names)
	}
}

func TestWatches_KeyEnqueuesItsAccount(t *testing.T) {
	t.Parallel()
	h := keyHandler()
	was := keystest.Key("web")
	update := func(options ...keystest.KeyOption) func(*recordingQueue) {
		is := keystest.Key("web", options...)
		return func(q *recordingQueue) { h.Update(t.Context(), event.UpdateEvent{ObjectOld: was, ObjectNew: is}, q) }
	}
	for name, tc := range map[string]struct {
		do   func(*recordingQueue)
		want time.Duration // zero if nothing is enqueued
	}{
		"it is created": {func(q *recordingQueue) { h.Create(t.Context(), event.CreateEvent{Object: was}, q) }, admissionWindow},
		"it existed before": {func(q *recordingQueue) {
			h.Create(t.Context(), event.CreateEvent{Object: was, IsInInitialList: true}, q)
		}, 0},
		"it is deleted":                {func(q *recordingQueue) { h.Delete(t.Context(), event.DeleteEvent{Object: was}, q) }, admissionWindow},
		"its spec changes":             {update(keystest.Generation(2)), admissionWindow},
		"it releases its slot":         {update(keystest.Released("7")), admissionWindow},
		"its state changes":            {update(keystest.Observed(v1alpha1.StateActive)), countsWindow},
		"another status field changes": {update(keystest.Status(func(s *v1alpha1.APIKeyStatus) { s.KeyID = "x" })), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := &recordingQueue{}
			tc.do(q)
			switch {
			case tc.want == 0 && len(q.names) > 0:
				t.Errorf("enqueued %q", q.names)
			case tc.want > 0 && !slices.Equal(q.delays, []time.Duration{tc.want}):
				t.Errorf("enqueued %q after %v, want once after %s", q.names, q.delays, tc.want)
			}
		})
	}
}

func TestWatches_NamespaceEnqueuesKeysAndAccounts(t *testing.T) {
	t.Parallel()
	w, _, _ := newWatchFixture(t)
	was := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	for name, tc := range map[string]struct {
		handler handler.EventHandler
		want    []string
	}{
		"keys":     {w.keys().namespaceHandler(), []string{"default/holder", "default/other", "default/waits"}},
		"accounts": {w.accounts().namespaceHandler(), []string{"/acme", "/zeta"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := &recordingQueue{}
			tc.handler.Update(t.Context(), event.UpdateEvent{ObjectOld: was, ObjectNew: was}, q)
			slices.Sort(q.names)
			if diff := cmp.Diff(tc.want, slices.Compact(q.names)); diff != "" {
				t.Errorf("enqueued (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRequeueAfter(t *testing.T) {
	t.Parallel()
	now := keystest.Epoch
	for name, tc := range map[string]struct {
		next     time.Time
		min, max time.Duration
	}{
		"never: the periodic reconciliation, spread": {time.Time{}, 54 * time.Minute, time.Hour},
		"in a day: the periodic reconciliation":      {now.Add(24 * time.Hour), 54 * time.Minute, time.Hour},
		"in a minute: exactly":                       {now.Add(time.Minute), time.Minute, time.Minute},
		"in milliseconds: exactly":                   {now.Add(30 * time.Millisecond), 30 * time.Millisecond, 30 * time.Millisecond},
		"now: not zero, which means no requeue":      {now, minRequeueAfter, minRequeueAfter},
		"a moment ago":                               {now.Add(-time.Second), minRequeueAfter, minRequeueAfter},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := requeueAfter(tc.next, now); got < tc.min || got > tc.max {
				t.Errorf("got %s, want %s to %s", got, tc.min, tc.max)
			}
		})
	}
}
