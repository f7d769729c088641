// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

func TestStart_WithoutBinariesNamesRemedy(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", t.TempDir())
	_, err := controlplane.Start(t.Context(), controlplane.Options{})
	if !errors.Is(err, controlplane.ErrNoBinaries) || !strings.Contains(err.Error(), "make controlplane") {
		t.Errorf("got %v, want an error that says `make controlplane`", err)
	}
}

func TestProcess(t *testing.T) {
	cases := map[string]struct {
		script string
		end    func(*controlplane.Process) error
		want   []string
	}{
		"stopped, and cleans up": {
			script: `trap 'echo tidy; exit 3' TERM; echo up; while true; do sleep 0.05; done`,
			end:    func(p *controlplane.Process) error { return p.Stop(time.Minute) },
			want:   []string{"exit status 3", "tidy"},
		},
		"stopped with its child processes": {
			script: `sleep 60 & echo up; wait; echo late`,
			end:    func(p *controlplane.Process) error { return p.Stop(time.Minute) },
			want:   []string{"signal: terminated"},
		},
		"killed": {
			script: `trap '' TERM; echo up; while true; do sleep 0.05; done`,
			end:    func(p *controlplane.Process) error { p.Kill(); return nil },
			want:   []string{"signal: killed"},
		},
		"ended by itself": {
			script: `echo up; echo oh dear; exit 4`,
			end:    func(p *controlplane.Process) error { <-p.Done(); return p.Stop(time.Minute) },
			want:   []string{"exit status 4", "oh dear"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startScript(t, tc.script)
			if err := tc.end(p); err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if err := p.Err(); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("it ended with %v, want %q in it", err, want)
				}
			}
		})
	}
}

func TestProcess_KilledIfItIgnoresSIGTERM(t *testing.T) {
	t.Parallel()
	p := startScript(t, `trap '' TERM; echo up; while true; do sleep 0.05; done`)
	if err := p.Stop(100 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("got %v, want an error that says it was killed", err)
	}
	<-p.Done()
}

func TestTail_ReturnsWholeLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("one\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int64]string{0: "", 7: "three\n", 10: "three\n", 11: "two\nthree\n", 100: "one\ntwo\nthree\n"} {
		if got := controlplane.Tail(path, size); got != want {
			t.Errorf("the last %d bytes: got %q, want %q", size, got, want)
		}
	}
	if got := controlplane.Tail(path+".not", 10); got != "" {
		t.Errorf("of no file: got %q, want nothing", got)
	}
}

// TestStop_StopsConcurrentlyStartedVerifiers starts verifiers concurrently, as tests that share a control plane do.
func TestStop_StopsConcurrentlyStartedVerifiers(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel() // StartVerifier does not wait until they are ready
	var plane controlplane.ControlPlane
	program := filepath.Join("testdata", "deaf-to-flags")
	started := make([]*controlplane.Verifier, 20)
	log := filepath.Join(t.TempDir(), "log")
	var all sync.WaitGroup
	for i := range started {
		all.Go(func() {
			started[i], _ = plane.StartVerifier(gone, controlplane.VerifierOptions{Binary: program, Log: log})
		})
	}
	all.Wait()
	if err := plane.Stop(); err != nil {
		t.Error(err)
	}
	for _, v := range started {
		select {
		case <-v.Done():
		default:
			t.Errorf("process %d still runs", v.Pid())
			v.Kill()
		}
	}
}

// startScript starts a shell script and waits until it prints "up".
func startScript(t *testing.T, script string) *controlplane.Process {
	t.Helper()
	p, err := controlplane.StartProcess(filepath.Join(t.TempDir(), "log"), "/bin/sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	controlplanetest.Until(t, "the script is not up", func() bool { return strings.HasPrefix(controlplane.Tail(p.Log, 1000), "up\n") })
	return p
}
