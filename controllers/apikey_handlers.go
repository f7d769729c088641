// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

// siblingHandler enqueues the keys that request a label when another key of the account takes or releases it: by its
// creation, deletion or end, or by a change of its label. Another key may hold the label then. The record of the
// account does not always change with it: without a limit it has no slots, and a key that waits has no slot. While the account does
// not exist, or allows the same label on several keys, nothing is enqueued: when that changes, accountHandler enqueues all keys.
func (r *APIKeyReconciler) siblingHandler() handler.EventHandler {
	enqueue := func(ctx context.Context, k *v1alpha1.APIKey, q queue) {
		account, err := lookup.Account(ctx, r, k.Spec.Account)
		if err == nil && !keys.HasUniqueLabel(k, account) {
			return
		}
		r.enqueueKeys(ctx, keys.IndexLabel, keys.AccountLabel(k), q, map[types.UID]bool{k.UID: true}) // its own watch enqueues the key itself
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if k := e.Object.(*v1alpha1.APIKey); !e.IsInInitialList { //nolint:forcetypeassert // watched as APIKey
				enqueue(ctx, k, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			k := e.Object.(*v1alpha1.APIKey) //nolint:forcetypeassert // watched as APIKey
			enqueue(ctx, k, q)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld.(*v1alpha1.APIKey), e.ObjectNew.(*v1alpha1.APIKey) //nolint:forcetypeassert // watched as APIKey
			if keys.AccountLabel(was) != keys.AccountLabel(is) {
				enqueue(ctx, was, q)
				enqueue(ctx, is, q)
			}
		},
	}
}

// forgetHandler drops what this process remembers of keys that no longer exist, and the versions of written keys that the cache
// contains. It enqueues nothing.
func (r *APIKeyReconciler) forgetHandler() handler.EventHandler {
	drop := func(o client.Object) {
		r.staged.drop(o.GetUID())
		r.propagation.forget(o.GetUID())
		r.written.drop(o.GetUID())
		r.new.drop(o.GetUID())
	}
	return handler.Funcs{
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, _ queue) {
			r.written.observe(e.ObjectNew.(*v1alpha1.APIKey), r.Clock.Now()) //nolint:forcetypeassert // watched as APIKey
			if e.ObjectOld.GetUID() != e.ObjectNew.GetUID() {                // the watch missed the deletion of the old key
				drop(e.ObjectOld)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, _ queue) { drop(e.Object) },
	}
}

// duplicateHandler enqueues the other keys that have a certain credential when a key receives, releases or revokes it:
// the credential may belong to another key then.
func (r *APIKeyReconciler) duplicateHandler() handler.EventHandler {
	enqueue := func(ctx context.Context, k *v1alpha1.APIKey, digests []string, q queue) {
		for _, digest := range digests {
			r.enqueueKeys(ctx, keys.IndexDigest, digest, q, map[types.UID]bool{k.UID: true})
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if k := e.Object.(*v1alpha1.APIKey); !e.IsInInitialList { //nolint:forcetypeassert // watched as APIKey
				enqueue(ctx, k, keys.KeyDigests(k), q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			k := e.Object.(*v1alpha1.APIKey) //nolint:forcetypeassert // watched as APIKey
			enqueue(ctx, k, keys.KeyDigests(k), q)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld.(*v1alpha1.APIKey), e.ObjectNew.(*v1alpha1.APIKey) //nolint:forcetypeassert // watched as APIKey
			before, after := keys.KeyDigests(was), keys.KeyDigests(is)
			if was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() {
				enqueue(ctx, is, after, q)
			}
			enqueue(ctx, is, without(before, after), q)
			enqueue(ctx, is, without(after, before), q)
		},
	}
}

// without returns the values of one list that are not in the other.
func without(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(others, s) })
}

func (r *APIKeyReconciler) enqueueKeys(ctx context.Context, index, value string, q queue, except map[types.UID]bool) {
	list, err := lookup.Keys(ctx, r, index, value)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not enqueue keys", "index", index, "value", value)
		return
	}
	for _, k := range list {
		if !except[k.UID] {
			q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(k)})
		}
	}
}

// namespaceHandler enqueues the keys of a namespace whose labels changed: accounts select namespaces by label.
func (r *APIKeyReconciler) namespaceHandler() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return requests(ctx, r, o.GetName(), func(k *v1alpha1.APIKey) types.NamespacedName { return client.ObjectKeyFromObject(k) })
	})
}

func requests(
	ctx context.Context,
	reader client.Reader,
	namespace string,
	of func(*v1alpha1.APIKey) types.NamespacedName,
) []reconcile.Request {
	var list v1alpha1.APIKeyList
	if err := reader.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not enqueue the keys of a namespace", "namespace", namespace)
		return nil
	}
	found := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		found[i] = reconcile.Request{NamespacedName: of(&list.Items[i])}
	}
	return found
}
