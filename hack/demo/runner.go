// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	commandTimeout = 30 * time.Second       // limits one command, retries included
	retryInterval  = 200 * time.Millisecond // is the time between two attempts
)

// step is one step of the scenario: a title and the commands that are run.
type step struct {
	title    string
	commands []command
}

// command is a shell command as a user would type it, and the outcome it must have.
type command struct {
	line  string // the placeholders {soon}, {later} and {now} are replaced by timestamps
	fails bool   // the command must fail
	retry bool   // run the command again until its check passes
	until string // the command is a watch: stop it at the first line that contains this text
	check check
	note  string // printed after the command has succeeded
}

// output holds what a command printed and when its last line arrived.
type output struct {
	text string
	at   time.Time
}

// runner runs the commands of a scenario, prints them with their output, and saves outputs that later checks compare with.
type runner struct {
	out         io.Writer
	dir         string
	environment []string
	bold        bool

	soon  time.Time
	saved map[string]string
}

func (r *runner) runSteps(ctx context.Context, steps []step) error {
	for i, s := range steps {
		title := fmt.Sprintf("%d/%d  %s", i+1, len(steps), s.title)
		if r.bold {
			title = "\x1b[1m" + title + "\x1b[0m"
		}
		r.printf("\n%s\n", title)
		for _, c := range s.commands {
			if err := r.runCommand(ctx, c); err != nil {
				return fmt.Errorf("step %d of %d, %q, failed: %w", i+1, len(steps), s.title, err)
			}
		}
	}
	return nil
}

func (r *runner) runCommand(ctx context.Context, c command) error {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTimeout, fmt.Errorf("timed out after %s", commandTimeout))
	defer cancel()
	line := r.fill(c.line)
	r.printf("\n  $ %s\n", line)
	act := r.once
	switch {
	case c.until != "":
		act = r.watch
	case c.retry:
		act = r.repeat
	}
	if err := act(ctx, c, line); err != nil {
		return err
	}
	if c.note != "" {
		r.printf("\n  %s\n", c.note)
	}
	return nil
}

// once runs a command, prints its output and checks it.
func (r *runner) once(ctx context.Context, c command, line string) error {
	out, err := r.try(ctx, c, line)
	r.show(out)
	return err
}

// repeat runs a command until its check passes, and prints the output of the last attempt that was not cut off.
func (r *runner) repeat(ctx context.Context, c command, line string) error {
	var last output
	var problem error
	for {
		out, err := r.try(ctx, c, line)
		if err == nil {
			r.show(out)
			return nil
		}
		if ctx.Err() == nil {
			last, problem = out, err
		}
		select {
		case <-ctx.Done():
			r.show(last)
			return errors.Join(problem, context.Cause(ctx))
		case <-time.After(retryInterval):
		}
	}
}

func (r *runner) try(ctx context.Context, c command, line string) (output, error) {
	text, err := r.shell(ctx, line).CombinedOutput()
	out := output{text: string(text), at: time.Now()}
	switch {
	case ctx.Err() != nil:
		return out, context.Cause(ctx)
	case err != nil && !c.fails:
		return out, fmt.Errorf("expected the command to succeed: %w", err)
	case err == nil && c.fails:
		return out, errors.New("expected the command to fail: it succeeded")
	}
	return out, r.verify(c, out)
}

// watch prints the lines of a command as they arrive, each with the time, and stops it at the first that contains c.until.
func (r *runner) watch(ctx context.Context, c command, line string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := r.shell(ctx, line)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { cancel(); _ = cmd.Wait() }() // Wait returns an error because the process was killed
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		out := output{text: lines.Text(), at: time.Now()}
		r.printf("  %s  %s\n", out.at.UTC().Format("15:04:05.0"), out.text)
		if strings.Contains(out.text, c.until) {
			return r.verify(c, out)
		}
	}
	return errors.Join(fmt.Errorf("expected to see %q", c.until), context.Cause(ctx))
}

func (r *runner) verify(c command, out output) error {
	if c.check == nil {
		return nil
	}
	return c.check(r, out)
}

// shell returns a shell command that runs in a process group of its own. The whole group is killed when ctx ends.
func (r *runner) shell(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir, cmd.Env = r.dir, r.environment
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// fill replaces the placeholders in a command: {soon} by the time in ten seconds, which is saved, {later} by the time in a
// month, and {now} by the current time.
func (r *runner) fill(line string) string {
	now := time.Now().UTC().Truncate(time.Second)
	if strings.Contains(line, "{soon}") {
		r.soon = now.Add(10 * time.Second)
	}
	return strings.NewReplacer(
		"{soon}", r.soon.Format(time.RFC3339),
		"{later}", now.AddDate(0, 1, 0).Format(time.RFC3339),
		"{now}", now.Format(time.RFC3339),
	).Replace(line)
}

func (r *runner) show(out output) {
	if text := strings.TrimRight(out.text, "\n"); text != "" {
		r.printf("  %s\n", strings.ReplaceAll(text, "\n", "\n  "))
	}
}

// printf prints to the output. A failure is ignored: there is nowhere else to report it.
func (r *runner) printf(format string, args ...any) { _, _ = fmt.Fprintf(r.out, format, args...) }
