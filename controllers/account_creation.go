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

// accountFieldManager owns the mark on an Account that the manager created, and nothing else.
const accountFieldManager = "apikey-manager"

// createAccount creates an account. The keys of a new one mostly come together: the first asks for it, and once it exists
// it wakes them all. Server-side apply is what leaves the defaults of the spec without an owner, so that no later apply by a
// user meets a conflict.
func (r *APIKeyReconciler) createAccount(ctx context.Context, s keys.CreateAccount) error {
	if _, busy := r.creating.LoadOrStore(s.Name, true); busy {
		return nil
	}
	defer r.creating.Delete(s.Name)
	err := r.APIReader.Get(ctx, client.ObjectKey{Name: s.Name}, &v1alpha1.Account{})
	if !apierrors.IsNotFound(err) {
		return err // nil: it exists, and the cache will tell
	}
	applied := accountConfiguration(s.Name, map[string]any{v1alpha1.CreatedByAnnotation: v1alpha1.CreatedByManager})
	if err := r.Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner(accountFieldManager)); err != nil {
		return err
	}
	if !ownedByOthers(applied) {
		return nil
	}
	// A user created the account between the two requests. The mark is taken off again.
	return r.Apply(ctx, client.ApplyConfigurationFromUnstructured(accountConfiguration(s.Name, nil)), client.FieldOwner(accountFieldManager))
}

// accountConfiguration is what the manager applies: no field of spec.
func accountConfiguration(name string, annotations map[string]any) *unstructured.Unstructured {
	metadata := map[string]any{"name": name}
	if annotations != nil {
		metadata["annotations"] = annotations
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "Account", "metadata": metadata,
	}}
}

// ownedByOthers reports whether anything of an object, its status aside, was written by another client.
func ownedByOthers(o client.Object) bool {
	return slices.ContainsFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		return f.Subresource == "" && f.Manager != accountFieldManager
	})
}
