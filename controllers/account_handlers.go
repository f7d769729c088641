// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// accountHandler enqueues the keys that a change of their account affects. If the spec changed, these are all keys. If only
// the slots changed, these are the keys whose slot or label is concerned, and all keys without a slot if the account became
// full, or is no longer full. A thousand keys that wait cost nothing when one of them gets a slot that was released.
func (r *APIKeyReconciler) accountHandler() handler.EventHandler {
	all := func(ctx context.Context, o client.Object, q queue) {
		r.enqueueKeys(ctx, keys.IndexAccount, o.GetName(), q, nil)
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList {
				all(ctx, e.Object, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { all(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld.(*v1alpha1.Account), e.ObjectNew.(*v1alpha1.Account) //nolint:forcetypeassert // watched as Account
			if was.Generation != is.Generation || len(was.Undecodable) != len(is.Undecodable) || keys.AccountRecordDiffers(was, is) {
				all(ctx, is, q)
				return
			}
			r.enqueueChanged(ctx, is, changedSlots(was, is), q)
			if r.isFull(was) != r.isFull(is) { // a key without a slot waits for another reason now
				r.enqueueKeys(ctx, keys.IndexAccount, is.Name, q, slotUIDs(is))
			}
		},
	}
}

// changedSlots returns the slots of both accounts that are only in one of them.
func changedSlots(was, is *v1alpha1.Account) []v1alpha1.Slot {
	old := make(map[v1alpha1.Slot]bool, len(was.Status.Slots))
	for _, slot := range was.Status.Slots {
		old[slot] = true
	}
	var changed []v1alpha1.Slot
	for _, slot := range is.Status.Slots {
		if !old[slot] {
			changed = append(changed, slot)
		}
		delete(old, slot)
	}
	for _, slot := range was.Status.Slots {
		if old[slot] {
			changed = append(changed, slot)
		}
	}
	return changed
}

// enqueueChanged enqueues the keys of changed slots, and the keys that request a label of these slots.
func (r *APIKeyReconciler) enqueueChanged(ctx context.Context, a *v1alpha1.Account, changed []v1alpha1.Slot, q queue) {
	names, labels := map[types.NamespacedName]bool{}, map[string]types.UID{}
	for i := range changed {
		names[types.NamespacedName{Namespace: changed[i].Namespace, Name: changed[i].Name}] = true
		if label := keys.SlotLabel(a, &changed[i]); label != "" {
			labels[label] = types.UID(changed[i].UID)
		}
	}
	for name := range names {
		q.Add(reconcile.Request{NamespacedName: name})
	}
	for label, holder := range labels {
		r.enqueueKeys(ctx, keys.IndexLabel, label, q, map[types.UID]bool{holder: true}) // the holder is enqueued already
	}
}

// isFull reports whether no slot of an account is free.
func (r *APIKeyReconciler) isFull(a *v1alpha1.Account) bool {
	limit, unlimited := r.Settings.Limit(a)
	return !unlimited && len(a.Status.Slots) >= limit
}

// slotUIDs returns the UIDs of the keys with a slot.
func slotUIDs(a *v1alpha1.Account) map[types.UID]bool {
	uids := make(map[types.UID]bool, len(a.Status.Slots))
	for _, slot := range a.Status.Slots {
		uids[types.UID(slot.UID)] = true
	}
	return uids
}
