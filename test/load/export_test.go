// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

func secretWith(name string, entries ...string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{}}
	for _, entry := range entries {
		s.Data[entry] = []byte("12345")
	}
	return s
}

func TestEntries(t *testing.T) {
	t.Parallel()
	e, start := newEntries(), time.Unix(1000, 0)
	for i, step := range []struct {
		kind   watch.EventType
		secret *corev1.Secret
	}{
		{kind: watch.Added, secret: secretWith("a", "1", "2")},
		{kind: watch.Modified, secret: secretWith("a", "2")},
		{kind: watch.Added, secret: secretWith("b", "2", "3")}, // 2 is in both
		{kind: watch.Modified, secret: secretWith("a")},
		{kind: watch.Deleted, secret: secretWith("b", "2", "3")},
	} {
		e.observe(step.kind, step.secret, start.Add(time.Duration(i)*time.Second))
	}
	seconds := func(times map[string]time.Time) map[string]int {
		all := map[string]int{}
		for name, at := range times {
			all[name] = int(at.Sub(start).Seconds())
		}
		return all
	}
	if diff := cmp.Diff(map[string]int{"1": 0, "2": 0, "3": 2}, seconds(e.appeared)); diff != "" {
		t.Errorf("appeared: %s", diff)
	}
	if diff := cmp.Diff(map[string]int{"1": 1, "2": 4, "3": 4}, seconds(e.vanished)); diff != "" {
		t.Errorf("vanished: %s", diff)
	}
	if writes, doubles := e.counts(); writes != 5 || doubles != 1 {
		t.Errorf("got %d writes and %d doubles", writes, doubles)
	}
	if len(e.present) != 0 || len(e.objects) != 1 {
		t.Errorf("left %v in %v", e.present, e.objects)
	}
}

func TestEntries_Largest(t *testing.T) {
	t.Parallel()
	e := newEntries()
	e.observe(watch.Added, secretWith("a", "1"), time.Time{})
	e.observe(watch.Added, secretWith("b", "1", "2"), time.Time{})
	if name, size := e.largest(); name != "b" || size != 12 {
		t.Errorf("got %s of %d", name, size)
	}
}

func TestEntries_Await(t *testing.T) {
	t.Parallel()
	e, w := newEntries(), watch.NewFake()
	go follow(&e.observer, w, e.observe)
	go func() {
		w.Add(secretWith("a", "1"))
		w.Modify(secretWith("a", "2"))
		w.Stop()
	}()
	if _, err := e.appearedAt(t.Context(), "2"); err != nil {
		t.Error(err)
	}
	if at, err := e.vanishedAt(t.Context(), "1"); err != nil || at.IsZero() {
		t.Errorf("got %v, %v", at, err)
	}
	if _, err := e.appearedAt(t.Context(), "3"); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("the end of the watch: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newEntries().appearedAt(ctx, "1"); err == nil || !strings.Contains(err.Error(), "entry 1 to appear") {
		t.Errorf("the end of the context: got %v", err)
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	s, w := &states{observer: newObserver(), state: map[string]v1alpha1.ObservedState{}, since: map[string]time.Time{}}, watch.NewFake()
	go follow(&s.observer, w, s.observe)
	key := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Name: "k"}}
	key.Status.State = v1alpha1.StateActive
	w.Add(key)
	first, err := s.reachedAt(t.Context(), "k", v1alpha1.StateActive)
	if err != nil {
		t.Fatal(err)
	}
	w.Modify(key)
	again, err := s.reachedAt(t.Context(), "k", v1alpha1.StateActive)
	if err != nil || !again.Equal(first) {
		t.Errorf("a change of something else: got %v, %v, want %v", again, err, first)
	}
}

func TestNewDataset_PreparesAccountsWithPolicy(t *testing.T) {
	t.Parallel()
	s := newDataset(1, 10, 2, false)
	s.exportPolicy = v1alpha1.ExportKey
	list := s.prepared()
	if len(list) != 2 || list[0].Spec.Limits != nil || list[0].Spec.ExportPolicy != v1alpha1.ExportKey {
		t.Errorf("got %+v", list)
	}
}

func TestExportReport(t *testing.T) {
	t.Parallel()
	p := exportPhase{
		content: v1alpha1.ExportContentDigest, keys: 1024, objects: 2, size: 4096, complete: 1500 * time.Millisecond,
		withdrawn: []float64{10, 30}, added: []float64{5}, expired: []float64{40}, bare: []float64{3, 4},
		changes: 4, writes: 4, changeRequests: counts{{"PUT", "keyexports/status"}: 2},
		cpu: map[string]float64{"manager": 0.02}, burst: 7, burstWrites: 3,
		before: memory{heap: 1 << 20}, after: memory{heap: 1<<20 + 1<<19}, restarted: memory{heap: 1<<20 + 1<<18},
		sweep: 2 * time.Second, restartRequests: counts{{"PUT", "secrets"}: 1},
	}
	got := strings.Join(strings.Fields(exportReport(options{concurrency: 8}, []exportPhase{p})), " ")
	for _, want := range []string{
		"writes of objects per change 1.00 1",
		"PUT keyexports/status per change 0.50",
		"CPU of the manager, ms per change 5.0",
		"patch to withdrawal, p50, ms 10.0 3.0",
		"patch to withdrawal, p99, ms 30.0 4.0 < 100",
		"expiration to withdrawal, maximum, ms 40.0 4.0",
		"heap per key of the export, KiB 0.50 < 1 by digest",
		"the same after a restart, KiB 0.25",
		"start to withdrawal, s 2.00",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestExportViolation(t *testing.T) {
	t.Parallel()
	good := exportPhase{changes: 4, writes: 4}
	if err := exportViolation([]exportPhase{good}); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*exportPhase){
		"two writes of a change": func(p *exportPhase) { p.writes = 5 },
		"a write for nothing":    func(p *exportPhase) { p.unaffected = 1 },
		"an entry twice":         func(p *exportPhase) { p.doubles = 1 },
	} {
		p := good
		change(&p)
		if exportViolation([]exportPhase{good, p}) == nil {
			t.Errorf("%s is wrong", name)
		}
	}
}
