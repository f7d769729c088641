// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// UsageReconciler writes to the status of a key what the verifiers report: when the key was last used, and condition Enforced.
// A poller passes the reports to two trackers, and enqueues the keys that have something to write.
type UsageReconciler struct {
	client.Client
	Clock clock.PassiveClock

	usage       *usageTracker
	propagation *propagationTracker
	poller      *verifierPoller
}

func newUsageReconciler(c client.Client, now clock.PassiveClock, v Verifiers) *UsageReconciler {
	if v.PollInterval == 0 {
		v.PollInterval = time.Minute
	}
	r := &UsageReconciler{Client: c, Clock: now, usage: newUsageTracker(now), propagation: newPropagationTracker(now, v.Recorder)}
	r.poller = &verifierPoller{
		Reader: c, clock: now, verifiers: v, usage: r.usage, propagation: r.propagation, enqueueCh: make(chan event.GenericEvent),
	}
	return r
}

// Reconcile writes what the trackers hold about a key. The write fails if the key changed since it was read.
func (r *UsageReconciler) Reconcile(ctx context.Context, key *v1alpha1.APIKey) (ctrl.Result, error) {
	if len(key.Undecodable) > 0 {
		return ctrl.Result{}, nil
	}
	now, next := r.Clock.Now(), key.DeepCopy()
	used := r.usage.apply(next, now)
	r.propagation.apply(next, now)
	if !equality.Semantic.DeepEqual(key.Status, next.Status) {
		err := r.Status().Update(ctx, next)
		if isStale(err) {
			return ctrl.Result{RequeueAfter: staleRequeueAfter}, nil
		}
		if err != nil {
			return ctrl.Result{}, fmt.Errorf("write the reports of verifiers to the status of APIKey %s: %w", key.Name, err)
		}
	}
	r.usage.markWritten(next, used, now)
	return ctrl.Result{}, nil
}

// SetupWithManager adds the controller and its poller to a manager.
func (r *UsageReconciler) SetupWithManager(mgr ctrl.Manager, o Options) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("apikey-usage").
		Watches(&v1alpha1.APIKey{}, r.keyHandler()).
		Watches(&discoveryv1.EndpointSlice{}, r.endpointSliceHandler()).
		WatchesRawSource(source.Channel(r.poller.enqueueCh, &handler.EnqueueRequestForObject{})).
		WithOptions(controllerOptions(o)).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
	if err != nil {
		return err
	}
	return mgr.Add(manager.RunnableFunc(r.poller.run))
}

// keyHandler tracks keys that are disabled. It enqueues nothing: only a poll finds out what to write.
func (r *UsageReconciler) keyHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, _ queue) {
			r.poller.active.Store(true)
			r.propagation.track(nil, e.Object.(*v1alpha1.APIKey)) //nolint:forcetypeassert // watched as APIKey
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, _ queue) {
			r.poller.active.Store(true)
			if e.ObjectOld.GetUID() != e.ObjectNew.GetUID() { // the watch missed the deletion of the old key
				r.forget(e.ObjectOld.GetUID())
			}
			r.propagation.track(e.ObjectOld.(*v1alpha1.APIKey), e.ObjectNew.(*v1alpha1.APIKey)) //nolint:forcetypeassert // watched as APIKey
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, _ queue) { r.forget(e.Object.GetUID()) },
	}
}

// forget drops what the trackers hold about a key that no longer exists.
func (r *UsageReconciler) forget(uid types.UID) {
	r.propagation.forget(uid)
	r.usage.forget(uid)
}

// endpointSliceHandler triggers a poll when the endpoints of the verifier change.
func (r *UsageReconciler) endpointSliceHandler() handler.EventHandler {
	poll := func() {
		r.poller.active.Store(true)
		r.propagation.triggered.fire()
	}
	return handler.Funcs{
		CreateFunc: func(context.Context, event.CreateEvent, queue) { poll() },
		UpdateFunc: func(context.Context, event.UpdateEvent, queue) { poll() },
		DeleteFunc: func(context.Context, event.DeleteEvent, queue) { poll() },
	}
}
