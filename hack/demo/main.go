// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command demo shows apikey-manager at work on a real control plane of this machine: it starts one, installs what a cluster
// would get, runs the manager from the binary that users deploy, and goes through the story with kubectl. It exits 0 only if
// each outcome was what it should be, and stops everything it started. With --stay it tells no story and stays until Ctrl-C.
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
	binary := flag.String("manager", "", "run this manager; left out, bin/manager is built and run")
	stay := flag.Bool("stay", false, "tell no story: start everything, print how to reach it, and stay until Ctrl-C")
	flag.Parse()
	ctrl.SetLogger(logr.Discard()) // what goes wrong comes back as an error
	// A closed pipe or terminal too must not leave servers behind.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err := run(ctx, os.Stdout, *binary, *stay)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\n"+err.Error())
		os.Exit(1)
	}
}

var errInterrupted = errors.New("interrupted: everything was stopped")

// run starts the world, tells the story or stays, and stops the world whatever happened.
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

// runUntilDone is what happens between start and stop. It ends early if the manager does.
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
	if err := r.runSteps(ctx, scenario); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nAll %d steps did what they should.\n", len(scenario))
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
