// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// exportWindow is the time during which changes are collected, so that keys that change together share one write.
const exportWindow = 10 * time.Millisecond

// enqueueExports enqueues the KeyExports that may select keys of some accounts. nil means all KeyExports.
func (r *KeyExportReconciler) enqueueExports(ctx context.Context, q queue, accounts map[string]bool) {
	list, err := lookup.Exports(ctx, r, "")
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not enqueue KeyExports")
		return
	}
	now := r.Clock.Now()
	for _, e := range list {
		if accounts != nil && len(e.Spec.Accounts) > 0 && !slices.ContainsFunc(e.Spec.Accounts, func(a string) bool { return accounts[a] }) {
			continue
		}
		if exportIsReconciled(e, r.Settings) {
			r.states.markChanged(client.ObjectKeyFromObject(e), now)
			q.AddAfter(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e)}, exportWindow)
		}
	}
}

// keyHandler enqueues the KeyExports that a change of a key may concern: those that may select keys of its account, or of the
// account of another key with one of its credentials, which may belong to that key then.
func (r *KeyExportReconciler) keyHandler() handler.EventHandler {
	enqueue := func(ctx context.Context, q queue, changed ...client.Object) {
		accounts := map[string]bool{}
		for _, o := range changed {
			k := o.(*v1alpha1.APIKey) //nolint:forcetypeassert // watched as APIKey
			accounts[k.Spec.Account] = true
			if len(k.Undecodable) > 0 || !r.addSharedAccounts(ctx, k, accounts) {
				accounts = nil
				break
			}
		}
		r.enqueueExports(ctx, q, accounts)
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList { // all KeyExports are enqueued at start anyway
				enqueue(ctx, q, e.Object)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { enqueue(ctx, q, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld.(*v1alpha1.APIKey), e.ObjectNew.(*v1alpha1.APIKey) //nolint:forcetypeassert // watched as APIKey
			if affectsExports(was, is) {
				enqueue(ctx, q, was, is)
			}
		},
	}
}

// addSharedAccounts adds the accounts of the other keys that have, or have revoked, a credential of a key.
func (r *KeyExportReconciler) addSharedAccounts(ctx context.Context, k *v1alpha1.APIKey, accounts map[string]bool) bool {
	for _, digest := range keys.KeyDigests(k) {
		list, err := lookup.Keys(ctx, r, keys.IndexDigest, digest)
		if err != nil {
			return false
		}
		for _, other := range list {
			accounts[other.Spec.Account] = true
		}
	}
	return true
}

// affectsExports reports whether an update of a key may change what a KeyExport holds. The use of a key, and the mails about it,
// do not.
func affectsExports(was, is *v1alpha1.APIKey) bool {
	if was.UID != is.UID || was.Generation != is.Generation || was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() ||
		len(was.Undecodable) != len(is.Undecodable) {
		return true
	}
	return !equality.Semantic.DeepEqual(withoutUse(was.Status), withoutUse(is.Status))
}

// withoutUse returns a status without the fields that change without consequences for verifiers.
func withoutUse(s v1alpha1.APIKeyStatus) v1alpha1.APIKeyStatus {
	s.LastUsedTime, s.Notifications, s.History = nil, nil, nil
	s.Credentials = slices.Clone(s.Credentials)
	for i := range s.Credentials {
		s.Credentials[i].LastUsedTime = nil
	}
	return s
}

// accountHandler enqueues the KeyExports that may select keys of an account whose spec or labels changed, and those that may
// select keys of another account with the same external ID.
func (r *KeyExportReconciler) accountHandler() handler.EventHandler {
	enqueue := func(ctx context.Context, q queue, changed ...client.Object) {
		accounts := map[string]bool{}
		for _, o := range changed {
			a := o.(*v1alpha1.Account) //nolint:forcetypeassert // watched as Account
			accounts[a.Name] = true
			declaring, err := lookup.Accounts(ctx, r, a.Spec.ExternalID)
			if err != nil {
				accounts = nil
				break
			}
			for _, other := range declaring {
				accounts[other.Name] = true
			}
		}
		r.enqueueExports(ctx, q, accounts)
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList { // all KeyExports are enqueued at start anyway
				enqueue(ctx, q, e.Object)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { enqueue(ctx, q, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld.(*v1alpha1.Account), e.ObjectNew.(*v1alpha1.Account) //nolint:forcetypeassert // watched as Account
			if was.UID != is.UID || was.Generation != is.Generation || len(was.Undecodable) != len(is.Undecodable) ||
				!equality.Semantic.DeepEqual(was.Labels, is.Labels) {
				enqueue(ctx, q, was, is)
			}
		},
	}
}

// namespaceHandler enqueues all KeyExports when a namespace is created or deleted, or its labels change.
func (r *KeyExportReconciler) namespaceHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList {
				r.enqueueExports(ctx, q, nil)
			}
		},
		UpdateFunc: func(ctx context.Context, _ event.UpdateEvent, q queue) { r.enqueueExports(ctx, q, nil) },
		DeleteFunc: func(ctx context.Context, _ event.DeleteEvent, q queue) { r.enqueueExports(ctx, q, nil) },
	}
}

// siblingHandler enqueues the other KeyExports of a namespace with the same target when one is created or deleted. It drops what
// is known of a deleted KeyExport.
func (r *KeyExportReconciler) siblingHandler() handler.EventHandler {
	enqueue := func(ctx context.Context, o client.Object, q queue) {
		e := o.(*v1alpha1.KeyExport) //nolint:forcetypeassert // watched as KeyExport
		siblings, err := lookup.Exports(ctx, r, e.Namespace)
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not enqueue the KeyExports of a namespace")
			return
		}
		for _, other := range siblings {
			if other.UID != e.UID && sameTarget(other, e) {
				q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(other)})
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList {
				enqueue(ctx, e.Object, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			r.forget(e.Object)
			enqueue(ctx, e.Object, q)
		},
	}
}

// objectHandler enqueues the KeyExport that controls an object when another client changes or deletes the object. The deletion of
// an object may end a conflict, so it enqueues all KeyExports of the namespace.
func (r *KeyExportReconciler) objectHandler() handler.EventHandler {
	owner := func(o client.Object, q queue) {
		if ref := metav1.GetControllerOf(o); ref != nil && ref.Kind == "KeyExport" && ref.APIVersion == v1alpha1.GroupVersion.String() {
			q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: ref.Name}})
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList && !r.states.isOwnWrite(e.Object) {
				owner(e.Object, q)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if r.states.isOwnWrite(e.ObjectNew) {
				return
			}
			owner(e.ObjectOld, q)
			owner(e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			r.states.forgetObject(e.Object.GetUID())
			siblings, err := lookup.Exports(ctx, r, e.Object.GetNamespace())
			if err != nil {
				owner(e.Object, q)
				return
			}
			for _, other := range siblings {
				q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(other)})
			}
		},
	}
}
