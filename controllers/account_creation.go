// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// accountFieldManager owns the annotation of an Account that the manager created, and no other field.
const accountFieldManager = "apikey-manager"

// createAccount creates an account. The keys of a new account are often created together: the first of them requests
// the account, and the creation of the account enqueues them all. Server-side apply leaves the defaulted fields of
// spec without an owner, so that a later apply by a user has no conflict.
func (r *APIKeyReconciler) createAccount(ctx context.Context, s keys.CreateAccount) error {
	if _, busy := r.creating.LoadOrStore(s.Name, true); busy {
		return nil
	}
	defer r.creating.Delete(s.Name)
	err := r.APIReader.Get(ctx, client.ObjectKey{Name: s.Name}, &v1alpha1.Account{})
	if !apierrors.IsNotFound(err) {
		return err // nil: the account exists, and the watch will enqueue its keys
	}
	applied := accountConfiguration(s.Name, map[string]any{v1alpha1.CreatedByAnnotation: v1alpha1.CreatedByManager})
	if err := r.Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner(accountFieldManager)); err != nil {
		return err
	}
	if !ownedByOthers(applied) {
		return nil
	}
	// A user created the account between the two requests. Remove the annotation again.
	return r.Apply(ctx, client.ApplyConfigurationFromUnstructured(accountConfiguration(s.Name, nil)), client.FieldOwner(accountFieldManager))
}

// accountConfiguration returns what the manager applies to an account. It has no field of spec.
func accountConfiguration(name string, annotations map[string]any) *unstructured.Unstructured {
	metadata := map[string]any{"name": name}
	if annotations != nil {
		metadata["annotations"] = annotations
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "Account", "metadata": metadata,
	}}
}

// ownedByOthers reports whether another client wrote any field of an object outside its status.
func ownedByOthers(o client.Object) bool {
	return slices.ContainsFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		return f.Subresource == "" && f.Manager != accountFieldManager
	})
}
