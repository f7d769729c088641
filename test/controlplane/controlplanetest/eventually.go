// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

const (
	// Timeout is how long anything may take to come about: a busy laptop, not a fast one.
	Timeout = 2 * time.Minute
	// pollInterval is how often to look whether it has.
	pollInterval = 25 * time.Millisecond
)

// Eventually waits until a check passes, and ends the test if it never does.
func Eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	Within(t, Timeout, what, check)
}

// Within is Eventually with a limit of the caller's own.
func Within(t *testing.T, limit time.Duration, what string, check func() error) {
	t.Helper()
	if err := await(t.Context(), limit, check); err != nil {
		t.Fatalf("it is not so that %s: %v", what, err)
	}
}

// Until waits until something is so, and ends the test with what it says otherwise if it never is.
func Until(t *testing.T, otherwise string, done func() bool) {
	t.Helper()
	if await(t.Context(), Timeout, func() error { return unless(done()) }) != nil {
		t.Fatalf("after %s, %s", Timeout, otherwise)
	}
}

var errNotYet = errors.New("not yet")

func unless(done bool) error {
	if done {
		return nil
	}
	return errNotYet
}

// Await waits until a check passes, and returns what is wrong if it never does.
func Await(ctx context.Context, check func() error) error { return await(ctx, Timeout, check) }

func await(ctx context.Context, limit time.Duration, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", limit, err)
		case <-time.After(pollInterval):
		}
	}
}
