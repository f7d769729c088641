// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// commandTimeout limits one command, with its repetitions. It allows for a busy laptop.
	commandTimeout = 90 * time.Second
	// retryInterval is the time between two repetitions.
	retryInterval = 100 * time.Millisecond
	// endMark begins the line that the shell prints after each command, followed by the exit code.
	endMark = "\x01end-of-command "
)

// shell is a running bash. Its variables and functions live from one command to the next, as in a terminal.
type shell struct {
	dir   string
	cmd   *exec.Cmd
	input io.WriteCloser
	lines chan string
}

// startShell starts a shell in a directory. The caller must call stop.
func startShell(dir string, environment []string) (*shell, error) {
	s := &shell{dir: dir, cmd: exec.Command("bash", "--noprofile", "--norc"), lines: make(chan string, 1024)} //nolint:noctx // stop ends it
	s.cmd.Dir, s.cmd.Env = dir, environment
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stdout, s.cmd.Stderr = writer, writer
	if s.input, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go s.read(output)
	_, err = io.WriteString(s.input, "set -o pipefail\n")
	return s, errors.Join(err, writer.Close())
}

// read passes on the lines of the output until the shell and all of its children have ended.
func (s *shell) read(output io.ReadCloser) {
	defer close(s.lines)
	defer func() { _ = output.Close() }()
	for in := bufio.NewReader(output); ; {
		line, err := in.ReadString('\n')
		if line != "" {
			s.lines <- line
		}
		if err != nil {
			return
		}
	}
}

// stop ends the shell and its children.
func (s *shell) stop() {
	_ = s.input.Close()
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	for range s.lines { // until read has ended
		continue
	}
	_ = s.cmd.Wait() // it was killed
}

// once runs a command, and returns its output and exit code. It is read from a file, so that a syntax error can't swallow what
// follows.
func (s *shell) once(ctx context.Context, command string) (output string, exit int, err error) {
	file := filepath.Join(s.dir, ".command")
	if err := os.WriteFile(file, []byte(command+"\n"), 0o600); err != nil {
		return "", 0, err
	}
	if _, err := fmt.Fprintf(s.input, ". '%s' </dev/null; printf '\\n%s%%d\\n' $?\n", file, endMark); err != nil {
		return "", 0, err
	}
	var text strings.Builder
	for {
		select {
		case line, open := <-s.lines:
			if code, ended := strings.CutPrefix(line, endMark); ended {
				exit, err := strconv.Atoi(strings.TrimSpace(code))
				return strings.TrimSuffix(text.String(), "\n"), exit, err
			}
			if !open {
				return text.String(), 0, errors.New("the shell has ended")
			}
			text.WriteString(line)
		case <-ctx.Done():
			return text.String(), 0, context.Cause(ctx)
		}
	}
}

// reading matches commands that change nothing. They are repeated until they show what the page does, because a user who types
// takes longer than a test.
var reading = regexp.MustCompile(`^(?:kubectl (?:get|describe|events|auth|apikey (?:list|get|describe|find|verify))|curl) `)

// run runs a command of a page until its output is as the page has it.
func (s *shell) run(ctx context.Context, command Command) error {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTimeout, fmt.Errorf("timed out after %s", commandTimeout))
	defer cancel()
	for {
		output, exit, err := s.once(ctx, command.Text)
		if err == nil {
			err = check(command, output, exit)
		}
		if err == nil {
			return nil
		}
		failed := fmt.Errorf("$ %s\n%s\nexit code %d: %w", command.Text, redact(output), exit, err)
		if ctx.Err() != nil || !reading.MatchString(command.Text) {
			return failed
		}
		select {
		case <-ctx.Done():
			return failed
		case <-time.After(retryInterval):
		}
	}
}

// check returns an error unless a command had the outcome that the page shows.
func check(command Command, output string, exit int) error {
	if fails := showsFailure(command.Output); fails != (exit != 0) {
		return fmt.Errorf("the page shows that the command fails: %t", fails)
	}
	return compare(command.Output, output)
}
