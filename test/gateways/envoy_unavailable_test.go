// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// startVerifier starts a verifier that is not shared.
func (w *suite) startVerifier(t *testing.T, flags ...string) *controlplane.Verifier {
	t.Helper()
	v := w.verifiers.Start(t, controlplane.VerifierOptions{Flags: append(append([]string{trustedProxyFlag}, trustedAddresses()...), flags...)})
	t.Cleanup(v.Kill)
	return v
}

// expectNoVerdict fails the test unless requests and gRPC calls, with and without a key, are answered that the verifier is not
// available.
func (w *suite) expectNoVerdict(t *testing.T, f *runningGateway) {
	t.Helper()
	for _, path := range []string{"/stock", "/orders/7", "/shop/7"} {
		for _, q := range []clientRequest{w.requestWithKey("full"), w.requestWithKey("revoked"), {}} {
			q.path = path
			if a := f.send(t, q); a.status != http.StatusServiceUnavailable || len(a.received) != 0 {
				t.Errorf("%s was answered %d and reached the application %d times", path, a.status, len(a.received))
			}
		}
	}
	for _, key := range []string{w.keys["full"].material, ""} {
		if got := f.callGRPC(t, "/stock.Stock/List", key); got.Code() != codes.Unavailable {
			t.Errorf("a gRPC client receives %s: %s", got.Code(), got.Message())
		}
	}
}

// TestEnvoy_VerifierIsKilled kills the only verifier.
func TestEnvoy_VerifierIsKilled(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	v := w.startVerifier(t)
	f := w.serve(t, gatewayNamed("envoy"), v.GRPC)
	f.expectAllowed(t, w.requestWithKey("full"), w.fullIdentity())
	v.Kill()
	w.expectNoVerdict(t, f)
}

// TestEnvoy_VerifierHangs stops the only verifier, so that it accepts connections and does not respond, and lets it continue.
func TestEnvoy_VerifierHangs(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	v := w.startVerifier(t)
	f := w.serve(t, gatewayNamed("envoy"), v.GRPC, timeouts("0.5s", "0.2s")...)
	suspend(t, v)
	w.expectNoVerdict(t, f)
	controlplanetest.Must(t, syscall.Kill(v.Pid(), syscall.SIGCONT))
	controlplanetest.Eventually(t, "requests are allowed again", func() error {
		if f.send(t, w.requestWithKey("full")).status != http.StatusOK {
			return errors.New("they are not")
		}
		return nil
	})
	f.expectDenied(t, w.requestWithKey("revoked"), http.StatusUnauthorized, "REVOKED")
}

// timeouts is a change of the sample: how long Envoy waits for the verifier, and for one call of it.
func timeouts(all, call string) []string {
	return []string{"timeout: 0.5s", "timeout: " + all, "max_interval: 0.2s", "max_interval: " + call}
}

// suspend stops all threads of a verifier.
func suspend(t *testing.T, v *controlplane.Verifier) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: a verifier that hangs was not tested: only Linux says in /proc whether a process is stopped")
	}
	controlplanetest.Must(t, syscall.Kill(v.Pid(), syscall.SIGSTOP))
	controlplanetest.Eventually(t, "the verifier is stopped", func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", v.Pid()))
		for _, thread := range threads {
			if status, _ := os.ReadFile(thread); !strings.Contains(string(status), "\nState:\tT") {
				err = errors.Join(err, fmt.Errorf("%s says that it is not", thread))
			}
		}
		return err
	})
}

// TestEnvoy_VerifierIsNotSynced uses a verifier that has not read the keys.
func TestEnvoy_VerifierIsNotSynced(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	v := w.verifiers.Start(t, controlplane.VerifierOptions{Unready: true, Flags: []string{"--kubeconfig=" + w.unreachableKubeconfig(t)}})
	t.Cleanup(v.Kill)
	w.expectNoVerdict(t, w.serve(t, gatewayNamed("envoy"), v.GRPC))
}

// TestEnvoy_AsksAnotherVerifier kills or suspends one of two verifiers.
func TestEnvoy_AsksAnotherVerifier(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	for about, end := range map[string]func(*testing.T, *controlplane.Verifier){
		"one is killed": func(_ *testing.T, v *controlplane.Verifier) { v.Kill() },
		"one hangs":     suspend,
	} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			ended, kept := w.startVerifier(t), w.startVerifier(t)
			changes := append(severalEndpoints(ended.GRPC, kept.GRPC), timeouts("10s", "1s")...)
			f := w.serve(t, gatewayNamed("envoy"), "", changes...)
			end(t, ended)
			for range 10 {
				f.expectAllowed(t, w.requestWithKey("full"), w.fullIdentity())
				f.expectDenied(t, w.requestWithKey("revoked"), http.StatusUnauthorized, "REVOKED")
			}
		})
	}
}
