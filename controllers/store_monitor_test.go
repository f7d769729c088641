// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// versionedStore represents an API server with a resourceVersion, and an informer with another one.
type versionedStore struct {
	client.Reader

	version, informed atomic.Int64
	away              atomic.Bool
	probes            atomic.Int64
}

// List implements client.Reader.
func (s *versionedStore) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if s.probes.Add(1); s.away.Load() {
		return errors.New("connection refused")
	}
	list.SetResourceVersion(strconv.FormatInt(s.version.Load(), 10))
	return nil
}

// LastSyncResourceVersion implements syncedInformer.
func (s *versionedStore) LastSyncResourceVersion() string {
	informed := s.informed.Load()
	if informed == 0 {
		return ""
	}
	return strconv.FormatInt(informed, 10)
}

func TestStoreMonitor(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		happens func(s *versionedStore)
		ends    bool
	}{
		"nothing happens":                       {func(*versionedStore) {}, false},
		"changes come":                          {func(s *versionedStore) { s.version.Store(200); s.informed.Store(150) }, false},
		"the cache is behind":                   {func(s *versionedStore) { s.version.Store(200) }, false},
		"the cache is not synced":               {func(s *versionedStore) { s.informed.Store(0) }, false},
		"the API server is unavailable":         {func(s *versionedStore) { s.away.Store(true) }, false},
		"the store is rolled back":              {func(s *versionedStore) { s.version.Store(50) }, true},
		"rolled back below the cache":           {func(s *versionedStore) { s.informed.Store(163); time.Sleep(2 * time.Second); s.version.Store(124) }, true},
		"rolled back, and informers list again": {func(s *versionedStore) { s.informed.Store(50) }, true},
		"rolled back while the API server is unavailable": {func(s *versionedStore) {
			s.away.Store(true)
			time.Sleep(time.Minute)
			s.version.Store(50)
			s.away.Store(false)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &versionedStore{}
				s.version.Store(100)
				s.informed.Store(100)
				m := &storeMonitor{reader: s, clock: clock.RealClock{}, kinds: []*monitoredKind{{informer: s}}}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- m.Start(ctx) }()
				time.Sleep(20 * time.Second)
				tc.happens(s)
				time.Sleep(16 * time.Second)
				select {
				case err := <-ended:
					if !tc.ends || !errors.Is(err, errStoreRolledBack) {
						t.Errorf("stopped with %v", err)
					}
				default:
					if tc.ends {
						t.Error("did not stop")
					}
					if n := s.probes.Load(); n > 22 || n < 3 {
						t.Errorf("probed %d times in 36 seconds", n)
					}
				}
				stop()
			})
		})
	}
}
