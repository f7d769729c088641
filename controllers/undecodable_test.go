// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// TestReconcile_SetsUndecodableObjectsAside runs each reconciler on an object that cannot be decoded. The reconcilers
// have no client, so any request would panic.
func TestReconcile_SetsUndecodableObjectsAside(t *testing.T) {
	t.Parallel()
	var lines []string
	ctx := log.IntoContext(t.Context(), funcr.New(func(_, text string) { lines = append(lines, text) }, funcr.Options{}))
	now := testingclock.NewFakePassiveClock(keystest.Epoch)
	key := keystest.Key("shop", keystest.Issued(keystest.Epoch), keystest.State(v1alpha1.KeyStateInactive))
	key.Undecodable = []string{"spec.rotation"}
	account := keystest.NewAccount("acme")
	account.Undecodable = []string{"spec.limits"}

	r, a := &APIKeyReconciler{Clock: now}, &AccountReconciler{Clock: now}
	for range 3 {
		if result, err := r.Reconcile(ctx, key); err != nil || result.RequeueAfter != 0 {
			t.Errorf("the key was reconciled: %v, %v", result, err)
		}
		if result, err := a.Reconcile(ctx, account); err != nil || result.RequeueAfter != 0 {
			t.Errorf("the account was reconciled: %v, %v", result, err)
		}
	}
	reconciler := newUsageReconciler(nil, now, Verifiers{PollInterval: time.Minute})
	reconciler.propagation.track(nil, key)
	if _, err := reconciler.Reconcile(ctx, key); err != nil || len(reconciler.propagation.waits) > 0 {
		t.Errorf("usage was written: %v, %v", err, reconciler.propagation.waits)
	}
	w := newFixture(t)
	if _, err := (&MailReconciler{Client: w.client, Clock: now}).Reconcile(ctx, key); err != nil {
		t.Error(err)
	}
	if len(lines) != 2 || !strings.Contains(lines[0], "spec.rotation") || !strings.Contains(lines[1], "spec.limits") {
		t.Errorf("logged %q", lines)
	}
	key.ResourceVersion = "next"
	if _, err := r.Reconcile(ctx, key); err != nil || len(lines) != 3 {
		t.Errorf("another version was not logged: %v, %q", err, lines)
	}
}

// TestSpecChanged_PassesUndecodableObjects passes updates after which an object cannot be decoded, or can be decoded
// again.
func TestSpecChanged_PassesUndecodableObjects(t *testing.T) {
	t.Parallel()
	good, bad := keystest.Key("shop"), keystest.Key("shop")
	bad.Undecodable = []string{"status.history"}
	for name, e := range map[string]event.UpdateEvent{
		"breaks": {ObjectOld: good, ObjectNew: bad}, "is repaired": {ObjectOld: bad, ObjectNew: good},
	} {
		if !specChanged.Update(e) {
			t.Errorf("an object that %s was dropped", name)
		}
	}
	if specChanged.Update(event.UpdateEvent{ObjectOld: good, ObjectNew: good}) {
		t.Error("a change of the status was passed")
	}
}
