// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

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
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

type options struct {
	keys, accounts, concurrency, rounds int
	exportKeys, rotationKeys            int
	spread, onlyWatching                bool
	timeout, idle                       time.Duration
	manager, profile                    string
	against                             []string
}

func (o *options) bind(f *flag.FlagSet) {
	f.IntVar(&o.keys, "keys", 2000, "how many keys to issue in each phase")
	f.IntVar(&o.accounts, "accounts", 400, "over how many accounts; with more than 5 keys each they exist beforehand, with a higher limit")
	f.IntVar(&o.concurrency, "concurrency", 8, "how many goroutines create keys, and how many workers issue them, on either side")
	f.IntVar(&o.rounds, "rounds", 1, "how often to measure each side; the table has medians")
	f.IntVar(&o.exportKeys, "export-keys", 0, "instead of issuing keys, measure a KeyExport of this many, and one with content Key of a tenth")
	f.IntVar(&o.rotationKeys, "rotations", 0,
		"instead of issuing keys, measure as many rotations that are due within a minute, over --accounts")
	f.BoolVar(&o.spread, "spread", false, "create one key of each account after the other instead of an account's keys together")
	f.BoolVar(&o.onlyWatching, "only-watching", false, "leave out the bare client without watches, which takes a third of the time")
	o.bindIdle(f)
	f.DurationVar(&o.timeout, "timeout", 30*time.Minute, "when to give up")
	f.StringVar(&o.manager, "manager", "", "the manager `binary` to measure; built from the working tree unless given")
	f.Func("against", "another manager `binary` to measure in the same run, for comparing builds; repeatable", func(path string) error {
		o.against = append(o.against, path)
		return nil
	})
	f.StringVar(&o.profile, "profile", "", "a `folder` for CPU, heap and allocation profiles of the manager, which slow it down a little")
}

const (
	// defaultLimit is the default limit of keys of an account.
	defaultLimit = 5
	// highestLimit is the highest possible limit.
	highestLimit = 1000
)

func (o *options) validate() error {
	switch {
	case o.keys < 1 || o.accounts < 1 || o.concurrency < 1 || o.rounds < 1:
		return errors.New("--keys, --accounts, --concurrency and --rounds are at least 1")
	case o.keys > o.accounts*highestLimit:
		return fmt.Errorf("%d keys do not fit into %d accounts of at most %d: raise --accounts", o.keys, o.accounts, highestLimit)
	case o.accounts > o.keys:
		return errors.New("--accounts is at most --keys")
	case o.manager != "" && o.profile != "":
		return errors.New("--profile builds a manager of its own: leave --manager out")
	case o.exportKeys < 0 || (o.exportKeys > 0 && o.exportKeys < leastExportKeys):
		return fmt.Errorf("--export-keys is at least %d", leastExportKeys)
	case o.rotationKeys < 0 || o.rotationKeys > 0 && o.exportKeys > 0:
		return errors.New("--rotations is at least 1, and not used with --export-keys")
	case o.rotationKeys > o.accounts*highestLimit:
		return fmt.Errorf("%d keys do not fit into %d accounts of at most %d: raise --accounts", o.rotationKeys, o.accounts, highestLimit)
	case o.exportKeys > o.accounts*highestLimit:
		return fmt.Errorf("%d keys do not fit into %d accounts of at most %d: raise --accounts", o.exportKeys, o.accounts, highestLimit)
	}
	return nil
}

// rotationAccounts returns the number of accounts of the keys that rotate. Each has a key.
func (o *options) rotationAccounts() int { return min(o.accounts, o.rotationKeys) }

func main() {
	var o options
	o.bind(flag.CommandLine)
	flag.Parse()
	ctrl.SetLogger(logr.Discard()) // what goes wrong comes back as an error
	// A closed pipe or terminal must not leave servers running either.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err := run(ctx, os.Stdout, o)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\n"+err.Error())
		os.Exit(1)
	}
}

// run measures, prints the table, and stops everything that it started.
func run(ctx context.Context, out io.Writer, o options) (err error) {
	if err := o.validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	b := &bench{options: o, out: out}
	defer func() { err = errors.Join(err, b.stop()) }()
	if o.idle > 0 {
		return b.runIdle(ctx)
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	if o.exportKeys > 0 {
		return b.runExports(ctx)
	}
	if o.rotationKeys > 0 {
		return b.runRotations(ctx)
	}
	figures, err := b.measure(ctx)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, "\n"+report(o, figures)); err != nil {
		return err
	}
	return figures.violation()
}

// runExports measures KeyExports, and prints their table.
func (b *bench) runExports(ctx context.Context) error {
	phases, err := b.measureExports(ctx)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(b.out, "\n"+exportReport(b.options, phases)); err != nil {
		return err
	}
	return exportViolation(phases)
}

// runRotations measures rotations, and prints their table.
func (b *bench) runRotations(ctx context.Context) error {
	phases, err := b.measureRotations(ctx)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(b.out, "\n"+rotationReport(b.options, phases)); err != nil {
		return err
	}
	return rotationViolation(phases)
}

// stop stops the control plane and all managers.
func (b *bench) stop() error {
	if b.plane == nil {
		return nil
	}
	return b.plane.Stop()
}

// start starts the control plane and builds the managers. There is no garbage collector: phases delete their objects.
func (b *bench) start(ctx context.Context) (err error) {
	b.printf("Starting a control plane")
	b.plane, err = controlplane.Start(ctx, controlplane.Options{
		WithoutControllers: true,
		EtcdFlags:          map[string]string{"quota-backend-bytes": "8589934592"}, // 8 GiB, so that 100,000 keys fit
		APIServerFlags: map[string]string{
			"request-timeout":           "30m", // a phase deletes all of its objects with one request for each resource
			"delete-collection-workers": "4",
		},
	})
	if err != nil {
		return err
	}
	b.printf("Building the manager")
	if b.builds, err = b.managers(ctx); err != nil {
		return err
	}
	return b.connect()
}

func (b *bench) printf(format string, args ...any) { fmt.Fprintf(b.out, format+"\n", args...) }
