// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

const (
	// admissionWindow is the time during which new keys are collected, so that they share one write of the account's
	// status.
	admissionWindow = 20 * time.Millisecond
	// countsWindow is the time during which changes of state are collected: the status of the account only counts
	// them.
	countsWindow = time.Second
	// maxConfirmations limits what a round confirms with the API server, so that it is soon written: it would be lost if
	// another write made the round stale meanwhile.
	maxConfirmations = 100
)

// AccountReconciler records in the status of an account which keys hold its slots.
type AccountReconciler struct {
	client.Client
	// APIReader reads from the API server instead of the cache.
	APIReader client.Reader
	// Clock returns the current time.
	Clock clock.PassiveClock
	// Settings holds the defaults from the manager's flags.
	Settings keys.Settings

	undecodable undecodableLog
	throttle    accountThrottle
}

// +kubebuilder:rbac:groups=apikey-manager.io,resources=accounts/status,verbs=update

// Reconcile reconciles an account. It writes only the status. A round of a large account waits for some time after the
// previous one, unless the spec of the account has changed.
func (r *AccountReconciler) Reconcile(ctx context.Context, account *v1alpha1.Account) (ctrl.Result, error) {
	if r.undecodable.setAside(ctx, account) {
		return ctrl.Result{}, nil
	}
	wait := r.throttle.wait(account.Name, r.Clock.Now())
	if wait > 0 && account.Generation == account.Status.ObservedGeneration {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	facts, err := r.observe(ctx, account)
	if err != nil {
		return ctrl.Result{}, err
	}
	more, err := r.confirm(ctx, facts)
	if err != nil {
		return ctrl.Result{}, err
	}
	written, err := r.updateStatus(ctx, account, keys.DescribeAccount(facts))
	r.throttle.finish(account.Name, r.Clock.Now(), len(facts.Keys), written)
	if isStale(err) {
		log.FromContext(ctx).V(1).Info("Facts were stale", "cause", err.Error())
		return ctrl.Result{RequeueAfter: staleRequeueAfter}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if more {
		return ctrl.Result{RequeueAfter: staleRequeueAfter}, nil
	}
	return ctrl.Result{RequeueAfter: requeueAfter(time.Time{}, r.Clock.Now())}, nil
}

func (r *AccountReconciler) observe(ctx context.Context, account *v1alpha1.Account) (keys.AccountFacts, error) {
	facts := keys.AccountFacts{
		Account: account, Settings: r.Settings, Now: r.Clock.Now().UTC().Truncate(time.Second),
		NamespaceLabels: map[string]map[string]string{}, Confirmed: map[string]bool{},
	}
	var err error
	if facts.Keys, err = lookup.Keys(ctx, r, keys.IndexAccount, account.Name); err != nil {
		return facts, err
	}
	if facts.Declaring, err = lookup.Accounts(ctx, r, account.Spec.ExternalID); err != nil {
		return facts, err
	}
	for _, k := range facts.Keys {
		if _, known := facts.NamespaceLabels[k.Namespace]; known {
			continue
		}
		if facts.NamespaceLabels[k.Namespace], err = lookup.NamespaceLabels(ctx, r, account, k.Namespace); err != nil {
			return facts, err
		}
	}
	return facts, nil
}

// confirm reads from the API server what the cache may not show yet: that a key with a slot no longer exists, and that
// a key without a slot retains one. It stops after maxConfirmations, and reports whether there may be more.
func (r *AccountReconciler) confirm(ctx context.Context, facts keys.AccountFacts) (more bool, err error) {
	missing, unrecorded := keys.UnconfirmedSlots(facts)
	confirmed := 0
	record := func(uid string, is bool) {
		if facts.Confirmed[uid] = is; is {
			confirmed++
		}
	}
	for _, slot := range missing {
		if confirmed == maxConfirmations {
			return true, nil
		}
		live, err := r.readKey(ctx, slot.Namespace, slot.Name)
		if err != nil {
			return false, err
		}
		record(slot.UID, live == nil || string(live.UID) != slot.UID)
	}
	for _, k := range unrecorded {
		if confirmed == maxConfirmations {
			return true, nil
		}
		live, err := r.readKey(ctx, k.Namespace, k.Name)
		if err != nil {
			return false, err
		}
		record(string(k.UID), live != nil && live.UID == k.UID && keys.RetainsSlot(live, facts.Account))
	}
	return false, nil
}

// readKey reads a key from the API server. It returns nil if the key does not exist.
func (r *AccountReconciler) readKey(ctx context.Context, namespace, name string) (*v1alpha1.APIKey, error) {
	var key v1alpha1.APIKey
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &key)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // nil means that the key does not exist
	}
	if err != nil {
		return nil, fmt.Errorf("read APIKey %s/%s: %w", namespace, name, err)
	}
	return &key, nil
}

// updateStatus writes the status if it changed, and returns the number of slots that it has written. The write fails if
// the account changed since it was read, which enforces the limit.
func (r *AccountReconciler) updateStatus(ctx context.Context, account *v1alpha1.Account, after v1alpha1.AccountStatus) (int, error) {
	if equality.Semantic.DeepEqual(account.Status, after) {
		return 0, nil
	}
	next := account.DeepCopy()
	next.Status = after
	if err := r.Status().Update(ctx, next); err != nil {
		return 0, fmt.Errorf("write the status of Account %s: %w", account.Name, err)
	}
	return len(after.Slots), nil
}

// SetupWithManager adds the controller to a manager.
func (r *AccountReconciler) SetupWithManager(mgr ctrl.Manager, o Options) error {
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Account{}, builder.WithPredicates(specChanged)).
		Watches(&v1alpha1.APIKey{}, keyHandler()).
		Watches(&v1alpha1.Account{}, r.externalIDHandler()).
		WatchesMetadata(&corev1.Namespace{}, r.namespaceHandler(), builder.WithPredicates(predicate.LabelChangedPredicate{}, exceptCreation)).
		WithOptions(controllerOptions(o)).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// namespaceHandler enqueues the accounts to which the keys of a namespace belong.
func (r *AccountReconciler) namespaceHandler() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return requests(ctx, r, o.GetName(), func(k *v1alpha1.APIKey) types.NamespacedName { return types.NamespacedName{Name: k.Spec.Account} })
	})
}

// keyHandler enqueues the account of a key that was created, deleted or changed.
func keyHandler() handler.EventHandler {
	enqueueAfter := func(o client.Object, q queue, after time.Duration) {
		name := o.(*v1alpha1.APIKey).Spec.Account //nolint:forcetypeassert // watched as APIKey
		q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}, after)
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList { // all accounts are enqueued at start anyway
				enqueueAfter(e.Object, q, admissionWindow)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { enqueueAfter(e.Object, q, admissionWindow) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld.(*v1alpha1.APIKey), e.ObjectNew.(*v1alpha1.APIKey) //nolint:forcetypeassert // watched as APIKey
			switch {
			case was.Generation != is.Generation, len(was.Undecodable) != len(is.Undecodable), was.Status.ReleasedGrant != is.Status.ReleasedGrant:
				enqueueAfter(is, q, admissionWindow)
			case was.Status.State != is.Status.State:
				enqueueAfter(is, q, countsWindow)
			}
		},
	}
}
