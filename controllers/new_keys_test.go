// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// TestReconcile_NewKeyInABacklogCostsOneStatus: a key that was created long before its first reconciliation, as one of thousands, gets no
// status while it waits for its account, for as long as any other new key.
func TestReconcile_NewKeyInABacklogCostsOneStatus(t *testing.T) {
	t.Parallel()
	w := newFixture(t, keystest.NewAccount("acme"), keystest.Key("web"))
	r := w.keys()
	for _, tc := range []struct {
		after  time.Duration
		writes []string
	}{{10 * time.Minute, nil}, {10*time.Minute + 29*time.Second, nil}, {10*time.Minute + 31*time.Second, []string{"update status of APIKey web"}}} {
		w.clock.SetTime(at(tc.after))
		w.writes = nil
		w.mustReconcile(r, "web")
		if !slices.Equal(w.writes, tc.writes) {
			t.Errorf("after %s: wrote %q, want %q", tc.after, w.writes, tc.writes)
		}
	}
	if got := w.key("web").Status.State; got != v1alpha1.StatePending {
		t.Errorf("the state is %q, want %s", got, v1alpha1.StatePending)
	}
	if len(r.new.byKey) > 0 {
		t.Error("a key with a status is still remembered as new")
	}
}

func TestNewKeys_ForgetsKeys(t *testing.T) {
	t.Parallel()
	now := keystest.Epoch
	key := func(uid types.UID) *v1alpha1.APIKey { return &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{UID: uid}} }
	var n newKeys
	for _, uid := range []types.UID{"deleted", "written", "missed"} {
		if got := n.firstSeen(key(uid), now); !got.Equal(now) {
			t.Errorf("key %s was first seen at %s, want %s", uid, got, now)
		}
	}
	later := now.Add(time.Minute)
	if got := n.firstSeen(key("missed"), later); !got.Equal(now) {
		t.Errorf("seen again, a key was first seen at %s, want %s", got, now)
	}
	n.drop("deleted")
	written := key("written")
	written.Status.State = v1alpha1.StateActive
	if got := n.firstSeen(written, later); !got.IsZero() {
		t.Errorf("a key with a status was first seen at %s", got)
	}
	n.firstSeen(key("another"), now.Add(newKeyTimeout))
	if len(n.byKey) != 1 {
		t.Errorf("%d keys are remembered, want 1", len(n.byKey))
	}
	n.drop("another")
	if n.byKey != nil {
		t.Error("an empty map is kept")
	}
}
