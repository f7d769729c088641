// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

func TestInterleave(t *testing.T) {
	t.Parallel()
	var got []string
	for _, key := range interleave([]dataset{newDataset(1, 3, 1, false), newDataset(2, 1, 1, false), newDataset(3, 2, 1, false)}) {
		got = append(got, key.Namespace[len(key.Namespace)-1:]+key.Name[len(key.Name)-1:])
	}
	if diff := cmp.Diff([]string{"10", "20", "30", "11", "31", "12"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRotations_RecordsFirstStatus(t *testing.T) {
	t.Parallel()
	r, start := rotations{observer: newObserver(), at: map[types.NamespacedName]time.Time{}}, time.Unix(1000, 0)
	key := func(name string, requested, observed v1alpha1.Instant) *v1alpha1.APIKey {
		k := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		if requested != "" {
			k.Spec.Rotation = &v1alpha1.Rotation{RequestedAt: requested}
		}
		k.Status.Rotation.ObservedRequestedAt = observed
		return k
	}
	const requested = "2027-01-01T00:00:00Z"
	for i, k := range []*v1alpha1.APIKey{
		key("never", "", ""), key("done", requested, ""), key("waits", requested, "2026-01-01T00:00:00Z"), key("done", requested, requested),
		key("done", requested, requested),
	} {
		r.observe(watch.Modified, k, start.Add(time.Duration(i)*time.Second))
	}
	want := map[types.NamespacedName]time.Time{{Namespace: "shop", Name: "done"}: start.Add(3 * time.Second)}
	if diff := cmp.Diff(want, r.at); diff != "" {
		t.Error(diff)
	}
}

func TestRotations_Evaluate(t *testing.T) {
	t.Parallel()
	first := time.Unix(1_000_020, 0)
	r := rotationRun{keys: newDataset(1, 4, 1, false).keys, first: first, rotations: &rotations{at: map[types.NamespacedName]time.Time{}}}
	for i, after := range []time.Duration{2 * time.Second, 14 * time.Second, 40 * time.Second, 47 * time.Second} { // due after 0, 15, 30 and 45 s
		r.rotations.at[client.ObjectKeyFromObject(r.keys[i])] = first.Add(after)
	}
	r.evaluate()
	if diff := cmp.Diff([]float64{2000, 0, 10000, 2000}, r.phase.delays); diff != "" || r.phase.early != 1 || r.phase.took != 47*time.Second {
		t.Errorf("%d early, took %s, %s", r.phase.early, r.phase.took, diff)
	}
}

func TestWithoutNewKeys(t *testing.T) {
	t.Parallel()
	served := counts{
		{"POST", "apikeys"}: 3, {"POST", "secrets"}: 3, {"PUT", "apikeys/status"}: 23, {"POST", "events"}: 13, {"PUT", "secrets"}: 10,
		{"GET", "secrets"}: 10, {"GET", "apikeys"}: 4, {"GET", "accounts"}: 3, {"PATCH", "accounts"}: 3, {"PUT", "accounts/status"}: 7,
	}
	want := counts{{"PUT", "apikeys/status"}: 20, {"POST", "events"}: 10, {"PUT", "secrets"}: 10, {"GET", "secrets"}: 10, {"GET", "apikeys"}: 1}
	if diff := cmp.Diff(want, withoutNewKeys(served, 3)); diff != "" {
		t.Error(diff)
	}
}

func TestRotationReport(t *testing.T) {
	t.Parallel()
	p := rotationPhase{
		keys: 10, accounts: 5, namespaces: 2, took: 70 * time.Second, delays: []float64{1, 2, 30}, newKeys: []float64{20, 40},
		requests: counts{{"PUT", "secrets"}: 10, {"PUT", "apikeys/status"}: 21, {"GET", "secrets"}: 4}, conflicts: 1,
		cpu: map[string]float64{"manager": 0.5},
	}
	got := strings.Join(strings.Fields(rotationReport(options{rotationKeys: 10, concurrency: 8}, []rotationPhase{p})), " ")
	for _, want := range []string{
		"10 rotations due within 1m0s, 5 accounts in 2 namespaces", "first due to last rotated, s 70 < 600", "due to rotated, p99, ms 30",
		"keys 2 create to Ready, p50, ms 20 create to Ready, maximum, ms 40 < 1000", "all 3.50 <= 5", "GET apikeys 0.00 GET secrets 0.40",
		"CPU of the manager, ms per rotation 50.00",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestRotationViolation(t *testing.T) {
	t.Parallel()
	if err := rotationViolation([]rotationPhase{{requests: counts{{"PUT", "secrets"}: 10}}}); err != nil {
		t.Error(err)
	}
	for name, p := range map[string]rotationPhase{"early": {early: 1}, "created": {requests: counts{{"POST", "secrets"}: 1}}} {
		if err := rotationViolation([]rotationPhase{p}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
