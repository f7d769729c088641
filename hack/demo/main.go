// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command demo demonstrates apikey-manager on a real control plane on this machine. It starts a control plane, installs the
// manifests of a cluster, runs the manager from the binary that users deploy, and goes through a scenario with kubectl. It
// exits 0 only if each command had the expected outcome, and stops everything it started. With --stay it skips the scenario and
// keeps everything running until Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	binary := flag.String("manager", "", "path of the manager binary; defaults to bin/manager, which is built first")
	stay := flag.Bool("stay", false, "skip the scenario: start everything, print how to reach it, and keep it running until Ctrl-C")
	flag.Parse()
	ctrl.SetLogger(logr.Discard()) // errors are returned
	// A closed pipe or terminal must not leave servers running either.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err := run(ctx, os.Stdout, *binary, *stay)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\n"+err.Error())
		os.Exit(1)
	}
}

var errInterrupted = errors.New("interrupted: everything was stopped")

// run starts the environment, runs the scenario or keeps everything running, and always stops the environment.
func run(ctx context.Context, out io.Writer, binary string, stay bool) error {
	env, err := start(ctx, out, binary)
	if err == nil {
		err = runUntilDone(ctx, out, env, stay)
	}
	if ctx.Err() != nil && !stay {
		return errors.Join(errInterrupted, env.stop(nil))
	}
	return errors.Join(err, env.stop(err))
}

// runUntilDone runs the scenario, or waits for an interrupt if stay is set. It ends early if the manager does.
func runUntilDone(ctx context.Context, out io.Writer, env *environment, stay bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		<-env.manager.Done()
		cancel(env.manager.Err())
	}()
	if err := env.prepareGateway(ctx, out); err != nil {
		return err
	}
	if stay {
		return env.waitForInterrupt(ctx, out)
	}
	r := &runner{out: out, dir: env.plane.Root(), environment: env.variables(), bold: isTerminal(out)}
	steps := env.steps()
	if err := r.runSteps(ctx, steps); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nAll %d steps succeeded.\n", len(steps))
	return err
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
