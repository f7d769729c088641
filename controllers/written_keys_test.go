// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// TestReconcile_WaitsForItsOwnStatus: a reconciliation of a key as it was before this process wrote its status makes no request, for a
// limited time.
func TestReconcile_WaitsForItsOwnStatus(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web"))(t)
	w.requestRotation()
	stale := w.key("web")
	r := w.keys()
	w.mustReconcile(r, "web")
	w.writes, w.reads = nil, nil
	for _, tc := range []struct {
		after    time.Duration
		requests bool
	}{{0, false}, {writtenKeyTimeout, false}, {writtenKeyTimeout + time.Second, true}} {
		w.clock.SetTime(at(tc.after))
		result, err := r.Reconcile(t.Context(), stale.DeepCopy())
		if err != nil || result.RequeueAfter != staleRequeueAfter {
			t.Errorf("after %s: got %+v, %v; want a requeue after %s", tc.after, result, err, staleRequeueAfter)
		}
		if got := len(w.writes)+len(w.reads) > 0; got != tc.requests {
			t.Errorf("after %s: wrote %q and read %q", tc.after, w.writes, w.reads)
		}
	}
	w.expectSound("web")
}

func TestWrittenKeys_ForgetsWhatTheCacheContains(t *testing.T) {
	t.Parallel()
	now := keystest.Epoch
	version := func(uid types.UID, resourceVersion string) *v1alpha1.APIKey {
		return &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{UID: uid, ResourceVersion: resourceVersion}}
	}
	var w writtenKeys
	for _, uid := range []types.UID{"a", "b", "c"} {
		w.put(version(uid, "20"), now)
	}
	for _, tc := range []struct {
		uid     types.UID
		version string
		ahead   bool
	}{{"a", "9", true}, {"a", "20", false}, {"a", "9", false}, {"b", "100", false}, {"b", "9", false}, {"unknown", "9", false}} {
		if got := w.isAhead(version(tc.uid, tc.version), now); got != tc.ahead {
			t.Errorf("%+v: got %t", tc, got)
		}
	}
	w.drop("c")
	w.put(version("d", "30"), now.Add(time.Second))
	w.put(version("e", "40"), now.Add(2*writtenKeyTimeout))
	if len(w.byKey) != 1 {
		t.Errorf("%d versions are kept", len(w.byKey))
	}
}
