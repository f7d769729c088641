// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Shared is a suite that all tests of a package share. The first test that needs it starts it, and Main stops it after the
// last.
type Shared[S interface{ Stop() error }] struct {
	// New starts the suite. Main stops the returned suite, also if New returns an error.
	New func(ctx context.Context) (S, error)

	once    sync.Once
	suite   S
	started bool
	err     error
}

// Get returns the suite, which it starts at the first call. It skips the test if there are no control plane binaries.
func (s *Shared[S]) Get(t *testing.T) S {
	t.Helper()
	skipShort(t)
	s.once.Do(func() {
		s.started = true
		s.suite, s.err = s.New(context.Background())
	})
	skipWithout(t, s.err)
	return s.suite
}

// Main runs the tests of a package, at most parallel of them at a time: most of them wait more than they compute. A
// -test.parallel flag on the command line takes precedence.
func (s *Shared[S]) Main(m *testing.M, parallel int) {
	if err := flag.Set("test.parallel", strconv.Itoa(parallel)); err != nil {
		panic(err)
	}
	log.SetLogger(logr.Discard())
	code := m.Run()
	if s.started {
		if err := s.suite.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the control plane:", err)
			code = 1
		}
	}
	os.Exit(code)
}
