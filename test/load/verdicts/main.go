// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command verdicts measures the binary of the verifier on a real API server: the number of ext_authz requests per second, next to
// a gRPC server of the same protocol that always answers OK; its memory; and the time from the API server's response to the
// deactivation of a key until its first denial.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

type options struct {
	sizes                      []int
	rounds, connections, burst int
	phase                      time.Duration
	revocations, revocationsAt int
	skim                       bool
	memoryLimit                string
	idle, timeout              time.Duration
}

func (o *options) bind(f *flag.FlagSet) {
	o.sizes = []int{10, 1_000, 100_000}
	f.Func("keys", "numbers of keys to measure at, ascending: 10,1000,100000 unless given", func(list string) (err error) {
		o.sizes, err = numbers(list)
		return err
	})
	f.IntVar(&o.rounds, "rounds", 5, "how often each side is measured; the table has medians")
	f.DurationVar(&o.phase, "phase", 3*time.Second, "how long each side is measured at a time")
	f.IntVar(&o.connections, "connections", 2, "how many connections ask")
	f.IntVar(&o.burst, "burst", 16, "how many requests are under way on each connection")
	f.BoolVar(&o.skim, "skim", false, "decode only the status of each response, to save processor time of the client")
	f.IntVar(&o.revocations, "revocations", 200, "how many keys to switch off, one after the other, under load")
	f.IntVar(&o.revocationsAt, "revocations-at", 10_000, "how many keys there are meanwhile")
	f.StringVar(&o.memoryLimit, "memory-limit", "", "GOMEMLIMIT of the verifier: that of config/verifier unless given")
	f.DurationVar(&o.idle, "idle", 2*time.Minute, "how long a verifier is measured without requests, after its start")
	f.DurationVar(&o.timeout, "timeout", 30*time.Minute, "when to give up")
}

func numbers(list string) ([]int, error) {
	var all []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no number of keys", text)
		}
		all = append(all, n)
	}
	if !slices.IsSorted(all) {
		return nil, errors.New("give them in ascending order: keys are only added")
	}
	return all, nil
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == baselineCommand {
		fmt.Fprintln(os.Stderr, serveBaseline(os.Args[2]))
		os.Exit(1)
	}
	var o options
	o.bind(flag.CommandLine)
	flag.Parse()
	ctrl.SetLogger(logr.Discard()) // what goes wrong comes back as an error
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err := run(ctx, os.Stdout, o)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\n"+err.Error())
		os.Exit(1)
	}
}

// run measures, prints the tables, and stops everything that it started.
func run(ctx context.Context, out io.Writer, o options) (err error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	b := &bench{options: o, out: out}
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.start(ctx); err != nil {
		return err
	}
	var rows []row
	for _, size := range o.sizes {
		if o.revocations > 0 && size > o.revocationsAt && b.revoked == nil {
			if err := b.measureRevocations(ctx); err != nil {
				return err
			}
		}
		measured, err := b.measure(ctx, size)
		if err != nil {
			return err
		}
		rows = append(rows, measured...)
	}
	if o.revocations > 0 && b.revoked == nil {
		if err := b.measureRevocations(ctx); err != nil {
			return err
		}
	}
	fresh, err := b.measureStart(ctx)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, report(o, rows, b.revoked, fresh))
	return err
}
