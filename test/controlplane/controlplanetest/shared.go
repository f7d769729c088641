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

// Shared is a world that all tests of a package share: the first that needs it starts it, and it is stopped after the last.
type Shared[W interface{ Stop() error }] struct {
	// New starts the world. What it returns is stopped, also if it comes with an error.
	New func(ctx context.Context) (W, error)

	once    sync.Once
	suite   W
	started bool
	err     error
}

// Get starts the world if it has to, or skips the test where there is nothing to start.
func (s *Shared[W]) Get(t *testing.T) W {
	t.Helper()
	skipShort(t)
	s.once.Do(func() {
		s.started = true
		s.suite, s.err = s.New(context.Background())
	})
	skipWithout(t, s.err)
	return s.suite
}

// Main runs the tests of a package that share the world, so many of them side by side: most wait more than they work. What
// the command line says comes after, and wins.
func (s *Shared[W]) Main(m *testing.M, parallel int) {
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
