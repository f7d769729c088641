// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	"github.com/apikey-manager/apikey-manager/internal/cli"
)

// runAtTerminal runs the plugin with standard input from a terminal at which a user types a line.
func (w *suite) runAtTerminal(t *testing.T, line string, args ...string) result {
	t.Helper()
	controller, terminal := openTerminal(t)
	if _, err := controller.WriteString(line + "\n"); err != nil {
		t.Fatal(err)
	}
	var errOut bytes.Buffer
	got := w.runWith(t, terminal, &errOut, args...)
	got.errOut = errOut.String()
	return got
}

// runWith runs the plugin with a standard input and an error stream.
func (w *suite) runWith(t *testing.T, in io.Reader, errOut io.Writer, args ...string) result {
	t.Helper()
	var out bytes.Buffer
	streams := genericiooptions.IOStreams{In: in, Out: &out, ErrOut: errOut}
	code := cli.Run(t.Context(), streams, clock.RealClock{}, append([]string{"--kubeconfig=" + w.Plane.Kubeconfig()}, args...))
	return result{out: out.String(), code: code}
}

// signalWriter closes a channel once a text has been written to it.
type signalWriter struct {
	text string
	seen chan struct{}

	mu      sync.Mutex
	written strings.Builder
	closed  bool
}

func (s *signalWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written.Write(p)
	if !s.closed && strings.Contains(s.written.String(), s.text) {
		s.closed = true
		close(s.seen)
	}
	return len(p), nil
}

// String returns what was written.
func (s *signalWriter) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written.String()
}

// openTerminal returns both ends of a pseudo-terminal.
func openTerminal(t *testing.T) (controller, terminal *os.File) {
	t.Helper()
	controller, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("SKIPPED: this machine has no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { _ = controller.Close() })
	fd := int(controller.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return controller, terminal
}

// succeed fails the test unless a command succeeded, and returns what it printed to standard output.
func (r result) succeed(t *testing.T) string {
	t.Helper()
	if r.code != 0 {
		t.Fatalf("got code %d, output %q and error %q; want success", r.code, r.out, r.errOut)
	}
	return r.out
}

// contains fails the test unless a text contains all parts.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not contain %q", text, part)
		}
	}
}

// fields returns the cells of a table without its headers, one line for each row.
func fields(table string) []string {
	var rows []string
	for line := range strings.Lines(table) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	return rows
}
