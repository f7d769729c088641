// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Process is a running program. It has a process group of its own, so that a Ctrl-C in the terminal does not reach it directly.
// Its output goes to a file.
type Process struct {
	// Log is the path of the file with its output.
	Log string

	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// StartProcess starts a program whose output is appended to the file log.
func StartProcess(log, program string, args ...string) (*Process, error) {
	return startProcess(log, nil, program, args...)
}

// startProcess starts a program with variables in addition to the environment of this process.
func startProcess(log string, environment []string, program string, args ...string) (*Process, error) {
	file, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the child has its own descriptor
	//nolint:noctx // the process outlives the context of its start
	cmd := exec.Command(program, args...)
	p := &Process{Log: log, name: filepath.Base(program), cmd: cmd, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), environment...)
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// Pid returns the process ID.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done returns a channel that is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop sends SIGTERM and waits for the process to end. If it has not ended after the grace period, Stop kills it and returns an
// error. It may be called more than once.
func (p *Process) Stop(grace time.Duration) error {
	if p.ended() {
		return nil
	}
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(grace):
		p.Kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM and was killed", p.name, grace)
	}
}

// Kill sends SIGKILL and waits for the process to end.
func (p *Process) Kill() {
	if !p.ended() {
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

// Err returns how the process ended: its exit status, the end of its log and the path of the log. It returns nil while the
// process runs.
func (p *Process) Err() error {
	if !p.ended() {
		return nil
	}
	how := errors.New("exit status 0")
	if p.err != nil {
		how = p.err
	}
	return fmt.Errorf("%s ended: %w\n%s(all of it: %s)", p.name, how, Tail(p.Log, 2000), p.Log)
}

func (p *Process) signal(s syscall.Signal) { _ = syscall.Kill(-p.Pid(), s) } // an error means that it has ended already

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// awaitOK waits until url answers 200. It returns an error when the process or ctx ends.
func (p *Process) awaitOK(ctx context.Context, url string) error {
	return p.Await(ctx, func() error { return ExpectStatus(ctx, url, http.StatusOK) })
}

// Await repeats a check until it passes. It returns an error when the process or ctx ends.
func (p *Process) Await(ctx context.Context, check func() error) error {
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.Err()
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w\n%s(all of it: %s)", p.name, context.Cause(ctx), err, Tail(p.Log, 2000), p.Log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ExpectStatus returns an error unless url answers a request without a key with this status.
func ExpectStatus(ctx context.Context, url string, want int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != want {
		return fmt.Errorf("%s answers %d, not %d", url, response.StatusCode, want)
	}
	return nil
}

// Tail returns the last whole lines of a file, at most size bytes, or an empty string if the file does not exist.
func Tail(path string, size int64) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	content := make([]byte, min(end, size))
	if _, err := file.ReadAt(content, end-int64(len(content))); err != nil {
		return ""
	}
	if _, whole, cut := bytes.Cut(content, []byte("\n")); cut && end > size {
		content = whole
	}
	return string(content)
}
