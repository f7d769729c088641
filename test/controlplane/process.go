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

// Process is a program that runs in a process group of its own, so that a Ctrl-C in the terminal reaches it only through
// whoever started it. Its output goes to a file.
type Process struct {
	// Log is the file that has its output.
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

// startProcess adds to our own environment.
func startProcess(log string, environment []string, program string, args ...string) (*Process, error) {
	file, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the child has its own descriptor
	//nolint:noctx // it outlives the context of its start
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

// Pid is its process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop asks it to end and waits; after the grace it is killed, which is an error. Stopping twice is fine.
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

// Kill ends it with SIGKILL, at once, and waits until it is gone.
func (p *Process) Kill() {
	if !p.ended() {
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

// Err says how it ended: its exit status, the end of its log and where the log is. It is nil while it runs.
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

func (p *Process) signal(s syscall.Signal) { _ = syscall.Kill(-p.Pid(), s) } // gone already is fine

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// awaitOK waits until url answers 200; it gives up when the process ends or ctx does.
func (p *Process) awaitOK(ctx context.Context, url string) error {
	for {
		if answersOK(ctx, url) {
			return nil
		}
		select {
		case <-p.done:
			return p.Err()
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer 200 at %s: %w\n%s(all of it: %s)", p.name, url, context.Cause(ctx), Tail(p.Log, 2000), p.Log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func answersOK(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode == http.StatusOK
}

// Tail is the last whole lines of a file, at most size bytes of them; nothing if there is no such file.
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
