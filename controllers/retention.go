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

// deleteKey deletes a key whose retention is over; the garbage collector removes its Secret. The account is read again from
// the API server, since a cache may not have heard yet that its owner keeps such keys. The key must be the very version
// whose status said that its end was carried out: one that was revived meanwhile is another.
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
