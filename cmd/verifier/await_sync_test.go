// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// TestAwaitSync measures, in virtual time, how long the first requests wait for the keys.
func TestAwaitSync(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		syncs, stops time.Duration // zero means never
		want         time.Duration
	}{
		"the keys are read":          {syncs: 700 * time.Millisecond, want: 700 * time.Millisecond},
		"the API server is away":     {want: syncTimeout},
		"the keys are read too late": {syncs: time.Minute, want: syncTimeout},
		"the verifier is stopped":    {stops: time.Second, want: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				index := verifier.NewIndex()
				verdicts := verifier.NewClusters(index)
				if tc.syncs > 0 {
					time.AfterFunc(tc.syncs, index.SetComplete)
				}
				if tc.stops > 0 {
					time.AfterFunc(tc.stops, stop)
				}
				start := time.Now()
				awaitSync(ctx, verdicts)
				if waited := time.Since(start); waited != tc.want {
					t.Errorf("requests waited for %s, want %s", waited, tc.want)
				}
			})
		})
	}
}
