// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// KeyExportValidator validates the creation and the update of KeyExports.
type KeyExportValidator struct {
	// Cache lists KeyExports.
	Cache client.Reader
	// APIReader reads directly from the API server.
	APIReader client.Reader
	// Settings holds the settings from the manager's flags.
	Settings keys.Settings
}

var _ admission.Validator[*v1alpha1.KeyExport] = &KeyExportValidator{}

// +kubebuilder:rbac:groups=apikey-manager.io,resources=keyexports,verbs=get;list;watch

// ValidateCreate rejects a KeyExport that the manager cannot carry out, and one with the target of another KeyExport. It
// returns a warning for a KeyExport in a namespace that the manager does not watch.
func (v *KeyExportValidator) ValidateCreate(ctx context.Context, e *v1alpha1.KeyExport) (admission.Warnings, error) {
	if err := undecodableError(keys.NewlyUndecodable(nil, e.Undecodable)); err != nil {
		return nil, err
	}
	if err := v.checkSpec(e); err != nil {
		return nil, err
	}
	if !v.Settings.WatchesNamespace(e.Namespace) {
		return admission.Warnings{"the manager does not watch namespace " + e.Namespace + ": nothing will be exported"}, nil
	}
	return nil, v.checkTarget(ctx, e)
}

// ValidateUpdate rejects an update to a spec that the manager cannot carry out. If it could not carry out the spec before
// the update for the same reason, it returns a warning instead. It accepts updates that do not change the spec.
func (v *KeyExportValidator) ValidateUpdate(_ context.Context, was, is *v1alpha1.KeyExport) (admission.Warnings, error) {
	if err := undecodableError(keys.NewlyUndecodable(was.Undecodable, is.Undecodable)); err != nil {
		return nil, err
	}
	if !is.DeletionTimestamp.IsZero() || equality.Semantic.DeepEqual(was.Spec, is.Spec) {
		return nil, nil
	}
	err := v.checkSpec(is)
	if err == nil {
		return nil, nil
	}
	if before := v.checkSpec(was); before != nil && before.Error() == err.Error() {
		return admission.Warnings{err.Error()}, nil
	}
	return nil, err
}

// ValidateDelete accepts every deletion.
func (v *KeyExportValidator) ValidateDelete(context.Context, *v1alpha1.KeyExport) (admission.Warnings, error) {
	return nil, nil
}

// checkSpec returns an error if the manager cannot carry out the spec.
func (v *KeyExportValidator) checkSpec(e *v1alpha1.KeyExport) error {
	_, err := export.Compile(e)
	if err == nil {
		err = v.Settings.CheckExportDomains(&e.Spec.Target).ToAggregate()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", v1alpha1.ReasonInvalidSpec, err)
	}
	return nil
}

// checkTarget returns an error if another KeyExport of the namespace has the same target. One that is being deleted does
// not count, because the manager carries out the new KeyExport as soon as the other is gone.
func (v *KeyExportValidator) checkTarget(ctx context.Context, e *v1alpha1.KeyExport) error {
	var list v1alpha1.KeyExportList
	if err := v.Cache.List(ctx, &list, client.InNamespace(e.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list the KeyExports of namespace %s: %w", e.Namespace, err)
	}
	for i := range list.Items {
		other := &list.Items[i]
		if other.Name == e.Name || !hasTarget(other, e.Spec.Target) {
			continue
		}
		exists, err := v.stillHasTarget(ctx, other)
		if err != nil {
			return err
		}
		if exists {
			return fmt.Errorf("%s: spec.target.name: KeyExport %s already writes %s %s: choose another name, or delete that KeyExport first",
				v1alpha1.ReasonTargetConflict, other.Name, e.Spec.Target.Kind, e.Spec.Target.Name)
		}
	}
	return nil
}

// hasTarget reports whether a KeyExport writes the objects of a target.
func hasTarget(e *v1alpha1.KeyExport, target v1alpha1.ExportTarget) bool {
	return e.DeletionTimestamp.IsZero() && e.Spec.Target.Kind == target.Kind && e.Spec.Target.Name == target.Name
}

// stillHasTarget reports whether a KeyExport has the same target on the API server as in the cache, which may not have
// observed its deletion yet.
func (v *KeyExportValidator) stillHasTarget(ctx context.Context, cached *v1alpha1.KeyExport) (bool, error) {
	var live v1alpha1.KeyExport
	err := v.APIReader.Get(ctx, client.ObjectKeyFromObject(cached), &live)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("read KeyExport %s: %w", cached.Name, err)
	}
	return err == nil && hasTarget(&live, cached.Spec.Target), nil
}
