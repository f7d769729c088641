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
	"github.com/apikey-manager/apikey-manager/internal/usage"
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
	ledger *usage.Ledger
	waits  map[types.UID]*disabledKey

	// triggered says that there is a reason to ask at once.
	triggered chan struct{}
	// enqueueCh are the keys to write.
	enqueueCh chan event.GenericEvent
}

func newUsageReconciler(c client.Client, now clock.PassiveClock, v Verifiers) *UsageReconciler {
	if v.PollInterval == 0 {
		v.PollInterval = time.Minute
	}
	return &UsageReconciler{
		Client: c, Clock: now, Verifiers: v, ledger: usage.NewLedger(now.Now()), waits: map[types.UID]*disabledKey{},
		triggered: make(chan struct{}, 1), enqueueCh: make(chan event.GenericEvent),
	}
}

// Reconcile writes what is known of a key, provided that nobody wrote the key meanwhile.
func (r *UsageReconciler) Reconcile(ctx context.Context, key *v1alpha1.APIKey) (ctrl.Result, error) {
	if len(key.Undecodable) > 0 {
		return ctrl.Result{}, nil
	}
	now := r.Clock.Now()
	next, used := r.statusOf(key, now)
	if !equality.Semantic.DeepEqual(key.Status, next.Status) {
		err := r.Status().Update(ctx, next)
		if isStale(err) {
			return ctrl.Result{RequeueAfter: staleRequeueAfter}, nil
		}
		if err != nil {
			return ctrl.Result{}, fmt.Errorf("write what verifiers say of APIKey %s: %w", key.Name, err)
		}
	}
	r.markWritten(next, used, now)
	return ctrl.Result{}, nil
}

// statusOf is a key with what verifiers say of it, and whether its uses are among that.
func (r *UsageReconciler) statusOf(key *v1alpha1.APIKey, now time.Time) (next *v1alpha1.APIKey, used bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next = key.DeepCopy()
	status, used := r.ledger.Record(next, now)
	if used {
		next.Status = status
	}
	if w := r.waits[key.UID]; w != nil && w.generation == key.Generation && w.reported != (keys.Propagation{}) {
		next.Status = keys.WithPropagation(next, w.reported, now.UTC().Truncate(time.Second))
	}
	return next, used
}

// markWritten forgets what now stands in the status.
func (r *UsageReconciler) markWritten(key *v1alpha1.APIKey, used bool, now time.Time) {
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
		WatchesRawSource(source.Channel(r.enqueueCh, &handler.EnqueueRequestForObject{})).
		WithOptions(controllerOptions(o)).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
	if err != nil {
		return err
	}
	return mgr.Add(manager.RunnableFunc(r.run))
}

// run asks verifiers for as long as this manager leads.
func (r *UsageReconciler) run(ctx context.Context) error {
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithName("verifiers"))
	r.reset()
	var loops sync.WaitGroup
	loops.Go(func() { r.pollUsage(ctx) })
	loops.Go(func() { pollWhileInProgress(ctx, r.Clock, r.triggered, r.pollDisabled) })
	loops.Wait()
	return nil
}

// reset begins anew: another manager may have led until a moment ago. It may have written uses, and what it saw is not
// ours to measure.
func (r *UsageReconciler) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger = usage.NewLedger(r.Clock.Now())
	for _, w := range r.waits {
		w.measuring = false
	}
}
