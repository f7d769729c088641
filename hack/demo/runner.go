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
	commandTimeout = 30 * time.Second       // for one command, with all its tries
	retryInterval  = 200 * time.Millisecond // between two tries
)

// step is one thing worth seeing.
type step struct {
	title    string
	commands []command
}

// command is a line as a person would type it, and what must come of it.
type command struct {
	line  string // {soon}, {later} and {now} in it become instants
	fails bool   // it is to be refused
	retry bool   // what it shows follows a little later: try until the check is content
	until string // it watches: it is ended when a line has this
	check check
	note  string // said when it did what it should
}

// output is what a command printed, and when the last line came.
type output struct {
	text string
	at   time.Time
}

// runner runs the lines of a story, prints them with their output, and remembers what the checks need.
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
				return fmt.Errorf("step %d of %d, %q, did not do what it should: %w", i+1, len(steps), s.title, err)
			}
		}
	}
	return nil
}

func (r *runner) runCommand(ctx context.Context, c command) error {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTimeout, fmt.Errorf("it took longer than %s", commandTimeout))
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

// once runs a line, shows what it printed and checks it.
func (r *runner) once(ctx context.Context, c command, line string) error {
	out, err := r.try(ctx, c, line)
	r.show(out)
	return err
}

// repeat runs a line until its check is content, and shows the last try that ran to its end.
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
		return out, errors.New("expected the command to be refused: it succeeded")
	}
	return out, r.verify(c, out)
}

// watch shows the lines of a command as they come, each with the time, and ends it at the one that is waited for.
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
	defer func() { cancel(); _ = cmd.Wait() }() // it was killed: of course it failed
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

// shell runs a line in a process group of its own, all of which is killed when ctx ends.
func (r *runner) shell(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir, cmd.Env = r.dir, r.environment
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// fill puts instants into a line: {soon} is ten seconds ahead and remembered, {later} a month, {now} none.
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

// printf prints; nobody is left to tell if that fails.
func (r *runner) printf(format string, args ...any) { _, _ = fmt.Fprintf(r.out, format, args...) }
