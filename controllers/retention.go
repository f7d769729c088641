// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// deleteKey deletes a key whose retention period is over; the garbage collector then removes its Secret. It reads the
// account from the API server, because the cache may lack a change by which the account retains such keys. The
// deletion applies only to the version of the key whose status reported that the key had ended: a key that was renewed
// since has another version.
func (r *APIKeyReconciler) deleteKey(ctx context.Context, facts keys.Facts) error {
	var account v1alpha1.Account
	if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(facts.Account), &account); err != nil {
		return err
	}
	facts.Account = &account
	if !keys.RetentionOver(facts) {
		return errStaleFacts
	}
	key := facts.Key
	r.Events.emit(key, []keys.Event{keys.RetentionEvent(key)})
	return r.Delete(ctx, key, client.Preconditions{UID: &key.UID, ResourceVersion: &key.ResourceVersion},
		client.PropagationPolicy(metav1.DeletePropagationBackground))
}
