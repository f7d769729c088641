// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"
)

// These tests run in a bubble with its own time, which also fails them if Start leaves a goroutine behind.

func startReplica(t *testing.T, w *fixture) *Rotator {
	t.Helper()
	r := w.replicaWithClock(clock.RealClock{}, serviceHost)
	ctx, cancel := context.WithCancel(w.ctx())
	ended := make(chan error)
	go func() { ended <- r.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start: %v", err)
		}
	})
	return r
}

func TestStart_RestoresTheCABundleAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, configuration())
		r := startReplica(t, w)
		synctest.Wait()
		if err := r.Check(nil); err != nil {
			t.Fatal(err)
		}
		want := w.config().Webhooks[0].ClientConfig.CABundle
		w.setCABundle("")
		synctest.Wait() // no time passes
		if got := w.config().Webhooks[0].ClientConfig.CABundle; string(got) != string(want) {
			t.Errorf("caBundle = %q", got)
		}
	})
}

func TestStart_WithoutAWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, configuration())
		w.watchErr = errors.New("forbidden")
		startReplica(t, w)
		synctest.Wait()
		want := w.config().Webhooks[0].ClientConfig.CABundle
		w.setCABundle("")
		time.Sleep(retryInterval + time.Second)
		synctest.Wait()
		if got := w.config().Webhooks[0].ClientConfig.CABundle; string(got) != string(want) {
			t.Errorf("caBundle = %q", got)
		}
		w.mu.Lock()
		w.watchErr = nil
		w.mu.Unlock()
		time.Sleep(retryInterval)
		synctest.Wait()
		w.setCABundle("")
		synctest.Wait()
		if got := w.config().Webhooks[0].ClientConfig.CABundle; string(got) != string(want) {
			t.Errorf("caBundle = %q: the watch was not taken up again", got)
		}
	})
}

func TestStart_WaitsForTheConfiguration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		replicas := []*Rotator{startReplica(t, w), startReplica(t, w)}
		time.Sleep(time.Hour)
		for _, r := range replicas {
			if r.Check(nil) == nil {
				t.Fatal("healthy without a configuration")
			}
		}
		if err := w.client.Create(w.ctx(), configuration()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // for a conflict between the two
		synctest.Wait()
		for _, r := range replicas {
			if err := r.Check(nil); err != nil {
				t.Error(err)
			}
			if err := w.handshake(r, w.config().Webhooks[0].ClientConfig.CABundle, serviceHost, time.Now); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestStart_RenewalReachesEveryReplica(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, configuration())
		w.clock.SetTime(time.Now().Add(10*time.Minute + clockSkew - (certificateLifetime+clockSkew)*2/3)) // ten minutes before it is due
		w.settle(w.replica())
		before := w.material().serving.Leaf
		w.reset()
		replicas := []*Rotator{startReplica(t, w), startReplica(t, w)}
		for minute := range 15 {
			time.Sleep(time.Minute)
			for _, r := range replicas {
				if err := w.handshake(r, w.config().Webhooks[0].ClientConfig.CABundle, serviceHost, time.Now); err != nil {
					t.Fatal(err)
				}
				renewed := !servedLeaf(t, r).Equal(before)
				if renewed && minute < 9 || !renewed && minute > 11 {
					t.Errorf("renewed after %d minutes: %t", minute+1, renewed)
				}
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.writes > 2 { // one, and another if both replicas woke at the same instant
			t.Errorf("%d writes for one renewal", w.writes)
		}
	})
}
