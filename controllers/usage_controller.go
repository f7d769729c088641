// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// UsageReconciler writes back what verifiers say of a key: when it was last used, and whether all of them refuse it. Of
// the status it writes the times of last use and condition Enforced alone. Two loops of its own ask the verifiers, and
// wake the keys about which there is something to write.
type UsageReconciler struct {
	client.Client
	// Clock tells the time.
	Clock clock.PassiveClock
	// Verifiers are whom to ask.
	Verifiers Verifiers

	mu     sync.Mutex
	ledger *keys.Ledger
	waits  map[types.UID]*pending

	// kicked says that there is a reason to ask at once.
	kicked chan struct{}
	// woken are the keys to write.
	woken chan event.GenericEvent
}

func newUsageReconciler(c client.Client, now clock.PassiveClock, v Verifiers) *UsageReconciler {
	if v.Every == 0 {
		v.Every = time.Minute
	}
	return &UsageReconciler{
		Client: c, Clock: now, Verifiers: v, ledger: keys.NewLedger(now.Now()), waits: map[types.UID]*pending{},
		kicked: make(chan struct{}, 1), woken: make(chan event.GenericEvent),
	}
}

// Reconcile writes what is known of a key, provided that nobody wrote the key meanwhile.
func (r *UsageReconciler) Reconcile(ctx context.Context, key *v1alpha1.APIKey) (ctrl.Result, error) {
	if len(key.Undecodable) > 0 {
		return ctrl.Result{}, nil
	}
	now := r.Clock.Now()
	next, used := r.record(key, now)
	if !equality.Semantic.DeepEqual(key.Status, next.Status) {
		err := r.Status().Update(ctx, next)
		if stale(err) {
			return ctrl.Result{RequeueAfter: staleWait}, nil
		}
		if err != nil {
			return ctrl.Result{}, fmt.Errorf("write what verifiers say of APIKey %s: %w", key.Name, err)
		}
	}
	r.recorded(next, used, now)
	return ctrl.Result{}, nil
}

// record is a key with what verifiers say of it, and whether its uses are among that.
func (r *UsageReconciler) record(key *v1alpha1.APIKey, now time.Time) (next *v1alpha1.APIKey, used bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next = key.DeepCopy()
	status, used := r.ledger.Record(next, now)
	if used {
		next.Status = status
	}
	if w := r.waits[key.UID]; w != nil && w.generation == key.Generation && w.told != (keys.Propagation{}) {
		next.Status = keys.WithPropagation(next, w.told, now.UTC().Truncate(time.Second))
	}
	return next, used
}

// recorded forgets what now stands in the status.
func (r *UsageReconciler) recorded(key *v1alpha1.APIKey, used bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if used {
		r.ledger.MarkWritten(key.UID, now)
	}
	r.ledger.Prune(key)
}

func (r *UsageReconciler) setup(mgr ctrl.Manager, o Options) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("apikey-usage").
		Watches(&v1alpha1.APIKey{}, r.keyHandler()).
		Watches(&discoveryv1.EndpointSlice{}, r.sliceHandler()).
		WatchesRawSource(source.Channel(r.woken, &handler.EnqueueRequestForObject{})).
		WithOptions(controllerOptions(o)).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
	if err != nil {
		return err
	}
	return mgr.Add(manager.RunnableFunc(r.lead))
}

// lead asks verifiers for as long as this manager leads.
func (r *UsageReconciler) lead(ctx context.Context) error {
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithName("verifiers"))
	r.takeOver()
	var loops sync.WaitGroup
	loops.Go(func() { r.pollUsage(ctx) })
	loops.Go(func() { pollWhileUnderway(ctx, r.Clock, r.kicked, r.pollEnforcement) })
	loops.Wait()
	return nil
}

// takeOver begins anew: another manager may have led until a moment ago. It may have written uses, and what it saw is not
// ours to measure.
func (r *UsageReconciler) takeOver() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger = keys.NewLedger(r.Clock.Now())
	for _, w := range r.waits {
		w.measured = false
	}
}
