// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// syncTimeout limits how long requests wait for the keys after the start. A gateway with a shorter timeout treats the verifier as one
// that does not answer, and may ask another replica.
const syncTimeout = 2 * time.Second

// awaitSync waits until verdicts are given, but for syncTimeout at most. Requests that arrive meanwhile wait in the listeners. A
// container that restarts after a crash is still in its Service for a moment, so gateways send it requests before it has read the
// keys: it answers them a little later, instead of refusing them with NOT_SYNCED.
func awaitSync(ctx context.Context, v *verifier.Clusters) {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	for {
		complete, changed := v.Completeness()
		if complete {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
