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
	// Timeout is how long to wait for a condition. It allows for a busy laptop.
	Timeout = 2 * time.Minute
	// QuietPeriod is how long Consistently observes a condition.
	QuietPeriod = 3 * time.Second

	pollInterval = 25 * time.Millisecond
)

// Eventually waits until a check passes, and ends the test if it does not within Timeout.
func Eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	Within(t, Timeout, what, check)
}

// Within waits until a check passes, and ends the test if it does not within the limit.
func Within(t *testing.T, limit time.Duration, what string, check func() error) {
	t.Helper()
	if err := await(t.Context(), limit, check); err != nil {
		t.Fatalf("expected that %s: %v", what, err)
	}
}

// Until waits until done returns true, and ends the test with the failure message if it does not within Timeout.
func Until(t *testing.T, failure string, done func() bool) {
	t.Helper()
	if await(t.Context(), Timeout, func() error { return unless(done()) }) != nil {
		t.Fatalf("after %s, %s", Timeout, failure)
	}
}

// Consistently checks a condition again and again for QuietPeriod, and ends the test at the first error.
func Consistently(t *testing.T, what string, check func() error) {
	t.Helper()
	for end := time.Now().Add(QuietPeriod); time.Now().Before(end); {
		if err := check(); err != nil {
			t.Fatalf("expected that throughout %s, %s: %v", QuietPeriod, what, err)
		}
		if err := sleep(t.Context(), pollInterval); err != nil {
			t.Fatal(err)
		}
	}
}

var errNotYet = errors.New("not yet")

func unless(done bool) error {
	if done {
		return nil
	}
	return errNotYet
}

// Await waits until a check passes, and returns its last error if it does not within Timeout.
func Await(ctx context.Context, check func() error) error { return await(ctx, Timeout, check) }

func await(ctx context.Context, limit time.Duration, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		if sleep(ctx, pollInterval) != nil {
			return fmt.Errorf("after %s: %w", limit, err)
		}
	}
}

// SleepUntil waits until a point in time, and ends the test if its context ends first. Use it where an instant itself matters,
// such as the turn of a second in timestamps of whole seconds; use Eventually to wait for a condition.
func SleepUntil(t *testing.T, at time.Time) {
	t.Helper()
	if err := sleep(t.Context(), time.Until(at)); err != nil {
		t.Fatal(err)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// Must ends the test if there is an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Equal returns an error unless two texts are equal. It is for checks of Eventually.
func Equal(got, want string) error {
	if got != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}
