// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// revokedLongAgo returns a fixture with a key that was revoked an hour ago. Its account retains such keys for an hour.
func revokedLongAgo(t *testing.T) *fixture {
	t.Helper()
	w := settled(keystest.Key("web"))(t)
	w.setRetention(&v1alpha1.Retention{RevokedAfter: "1h"})
	w.change("web", keystest.State(v1alpha1.KeyStateRevoked))
	w.settle()
	w.clock.SetTime(w.clock.Now().Add(time.Hour))
	w.writes = nil
	return w
}

func (w *fixture) setRetention(r *v1alpha1.Retention) {
	w.t.Helper()
	a := w.account("acme")
	a.Spec.Retention = r
	a.Generation++
	w.must(w.client.Update(w.t.Context(), a))
}

// exists reports whether a key of that name exists.
func (w *fixture) exists(name string) bool {
	w.t.Helper()
	err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &v1alpha1.APIKey{})
	if client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
	return !apierrors.IsNotFound(err)
}

// retentionEvents returns the events that report the deletion of a key.
func (w *fixture) retentionEvents() []string {
	return slices.DeleteFunc(w.recorded(), func(e string) bool { return !strings.Contains(e, v1alpha1.ReasonRetentionOver) })
}

func (w *fixture) recorded() []string {
	var list []string
	for {
		select {
		case e := <-w.events.Events:
			list = append(list, e)
		default:
			return list
		}
	}
}

func TestRetention_DeletesTheKeyInOneWrite(t *testing.T) {
	t.Parallel()
	w := revokedLongAgo(t)
	if _, err := w.reconcileKey("web"); err != nil {
		t.Fatal(err)
	}
	if w.exists("web") || !slices.Equal(w.writes, []string{"delete APIKey web"}) {
		t.Errorf("the key exists: %t, writes: %q", w.exists("web"), w.writes)
	}
	if got := w.retentionEvents(); len(got) != 1 || !strings.HasPrefix(got[0], "Normal RetentionOver Deleting the key: it has been Revoked") {
		t.Errorf("events: %q", got)
	}
}

// With a cache that lacks the current retention of the account, no key is deleted.
func TestRetention_StaleAccountDeletesNothing(t *testing.T) {
	t.Parallel()
	w := revokedLongAgo(t)
	cached := w.account("acme")
	w.setRetention(nil)
	r := w.keys()
	facts, err := r.observe(t.Context(), w.key("web"))
	w.must(err)
	facts.Account = cached
	if err := r.deleteKey(t.Context(), facts); !isStale(err) {
		t.Errorf("error: %v", err)
	}
	if !w.exists("web") || len(w.retentionEvents()) > 0 {
		t.Error("the key was deleted, or an event reports it")
	}
}

// With a cache that lacks a change of the key, the key is not deleted.
func TestRetention_StaleKeyIsNotDeleted(t *testing.T) {
	t.Parallel()
	w := revokedLongAgo(t)
	r := w.keys()
	facts, err := r.observe(t.Context(), w.key("web"))
	w.must(err)
	w.change("web", keystest.Label("new"))
	if err := r.deleteKey(t.Context(), facts); !isStale(err) {
		t.Errorf("error: %v", err)
	}
	if !w.exists("web") {
		t.Error("the key was deleted")
	}
}

// A failed deletion is retried, and does not change the status, which is still correct.
func TestRetention_RetriesFailedDeletion(t *testing.T) {
	t.Parallel()
	w := revokedLongAgo(t)
	before := w.key("web").ResourceVersion
	w.fault = func(n int) fault {
		if n == 1 {
			return faultBefore
		}
		return faultNone
	}
	if _, err := w.reconcileKey("web"); err == nil || !strings.Contains(err.Error(), "Could not delete APIKey web") {
		t.Errorf("error: %v", err)
	}
	if after := w.key("web").ResourceVersion; after != before {
		t.Error("the status was written")
	}
	if _, err := w.reconcileKey("web"); err != nil || w.exists("web") {
		t.Errorf("the key exists: %t, error: %v", w.exists("web"), err)
	}
}
