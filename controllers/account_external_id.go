// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

// externalIDHandler enqueues the accounts that declare an external ID when another account starts or stops declaring
// it: the oldest of them holds it.
func (r *AccountReconciler) externalIDHandler() handler.EventHandler {
	enqueue := func(ctx context.Context, id string, q queue) {
		list, err := lookup.Accounts(ctx, r, id)
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not enqueue the accounts with an external ID")
			return
		}
		for _, a := range list {
			q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(a)})
		}
	}
	idOf := func(o client.Object) string { return o.(*v1alpha1.Account).Spec.ExternalID } //nolint:forcetypeassert // watched as Account
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList { // all accounts are enqueued at start anyway
				enqueue(ctx, idOf(e.Object), q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { enqueue(ctx, idOf(e.Object), q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if was, is := idOf(e.ObjectOld), idOf(e.ObjectNew); was != is {
				enqueue(ctx, was, q)
				enqueue(ctx, is, q)
			}
		},
	}
}
