// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/prometheus/procfs"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// bench holds what a run has started.
type bench struct {
	options
	out io.Writer

	plane     *controlplane.ControlPlane
	admin     client.WithWatch
	binary    string // of the verifier
	verifier  *controlplane.Verifier
	baseline  server
	candidate server
	keys      int
	emptyHeap float64 // the verifier's heap while it knew no key
	revoked   []time.Duration
}

// etcdQuota is the limit of etcd's store in bytes, 8 GiB: a million keys exceed the default of 2 GiB.
const etcdQuota = "8589934592"

// server is one of the two measured servers.
type server struct {
	address string
	process *controlplane.Process
}

// processor returns the processor time of the server.
func (s server) processor() (time.Duration, error) {
	process, err := procfs.NewProc(s.process.Pid())
	if err != nil {
		return 0, err
	}
	stat, err := process.Stat()
	return time.Duration(stat.CPUTime() * float64(time.Second)), err
}

func (b *bench) printf(format string, args ...any) { fmt.Fprintf(b.out, format+"\n", args...) }

// start starts a control plane, a verifier and the baseline server. No manager runs: the benchmark writes what a manager would
// write.
func (b *bench) start(ctx context.Context) (err error) {
	b.printf("Starting a control plane")
	if b.plane, err = controlplane.Start(ctx, controlplane.Options{
		WithoutControllers: true, EtcdFlags: map[string]string{"quota-backend-bytes": etcdQuota},
	}); err != nil {
		return err
	}
	if err := b.connect(); err != nil {
		return err
	}
	b.printf("Building and starting the verifier")
	if b.binary, err = controlplane.BuildVerifier(ctx); err != nil {
		return err
	}
	if b.verifier, err = b.plane.StartVerifier(ctx, b.verifierOptions()); err != nil {
		return err
	}
	b.candidate = server{address: b.verifier.GRPC, process: b.verifier.Process}
	if b.emptyHeap, err = b.heap(ctx); err != nil {
		return err
	}
	return b.startBaseline()
}

func (b *bench) verifierOptions() controlplane.VerifierOptions {
	o := controlplane.VerifierOptions{Binary: b.binary}
	if b.memoryLimit != "" {
		o.Environment = []string{"GOMEMLIMIT=" + b.memoryLimit}
	}
	return o
}

func (b *bench) connect() error {
	config := b.plane.Config()
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	var err error
	b.admin, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
	return err
}

func (b *bench) startBaseline() error {
	port, err := controlplane.FreePort()
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	b.baseline.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	b.baseline.process, err = controlplane.StartProcess(
		filepath.Join(b.plane.Dir(), "floor.log"),
		program,
		baselineCommand,
		b.baseline.address,
	)
	return err
}

func (b *bench) stop() error {
	var problems []error
	if b.baseline.process != nil {
		b.baseline.process.Kill() // it knows no other end
	}
	if b.plane != nil {
		problems = append(problems, b.plane.Stop())
	}
	return errors.Join(problems...)
}

// row holds the results of both servers in one situation. Elements with the same index belong to the same round.
type row struct {
	keys               int
	what               string
	baseline, verifier []phase
	heap               float64 // of the verifier, over what it weighed without keys
}

// measure measures both servers in turns, at a number of keys.
func (b *bench) measure(ctx context.Context, size int) ([]row, error) {
	if err := b.grow(ctx, size); err != nil {
		return nil, err
	}
	heap, err := b.heap(ctx)
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, situation := range []struct {
		what string
		key  func(int) string
	}{{"valid", func(i int) string { return material(i % size) }}, {"unknown", func(i int) string { return material(-1 - i%1000) }}} {
		b.printf("Measuring at %d keys: %s", size, situation.what)
		r := row{keys: size, what: situation.what, heap: heap - b.emptyHeap}
		for round := range b.rounds + 1 { // the first warms both up
			for _, s := range []struct {
				server
				into *[]phase
				want wanted
			}{{b.baseline, &r.baseline, wantAny}, {b.candidate, &r.verifier, wantedOf(situation.what)}} {
				p, err := b.drive(ctx, s.server, situation.key, s.want)
				if err != nil {
					return nil, err
				}
				if round > 0 {
					*s.into = append(*s.into, p)
				}
			}
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// startup describes the start of a verifier while keys exist.
type startup struct {
	keys           int
	ready          time.Duration // from its start
	peak, resident float64       // its memory in bytes: the most by then, and what is left when it is idle
	idle           float64       // its processor time while it is idle, of a core
}

// measureStart starts another verifier, and watches it without requests.
func (b *bench) measureStart(ctx context.Context) (startup, error) {
	b.printf("Starting another verifier at %d keys", b.keys)
	start := time.Now()
	options := b.verifierOptions()
	options.Unready = true // it may take longer than the time limit of StartVerifier
	v, err := b.plane.StartVerifier(ctx, options)
	if err != nil {
		return startup{}, err
	}
	if err := v.AwaitReady(ctx); err != nil {
		return startup{}, err
	}
	s := startup{keys: b.keys, ready: time.Since(start)}
	process, err := procfs.NewProc(v.Pid())
	if err != nil {
		return s, err
	}
	status, err := process.NewStatus()
	if err != nil {
		return s, err
	}
	s.peak = float64(status.VmHWM)
	return s, b.measureIdle(ctx, process, &s)
}

// measureIdle measures what a verifier needs while it has no request.
func (b *bench) measureIdle(ctx context.Context, process procfs.Proc, s *startup) error {
	if b.idle == 0 {
		return nil
	}
	before, err := process.Stat()
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(b.idle):
	}
	after, err := process.Stat()
	if err != nil {
		return err
	}
	status, err := process.NewStatus()
	s.resident, s.idle = float64(status.VmRSS), (after.CPUTime()-before.CPUTime())/b.idle.Seconds()
	return err
}
