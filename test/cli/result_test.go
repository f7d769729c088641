// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	"github.com/apikey-manager/apikey-manager/internal/cli"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// result is what a command printed, and its exit code.
type result struct {
	out, errOut string
	code        int
}

// run runs the plugin in this process, as an administrator unless the arguments say otherwise.
func (w *suite) run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	streams.In = strings.NewReader(stdin)
	code := cli.Run(t.Context(), streams, clock.RealClock{}, append([]string{"--kubeconfig=" + w.Plane.Kubeconfig()}, args...))
	return result{out.String(), errOut.String(), code}
}

// expect fails the test unless a command succeeded with exactly this output.
func (r result) expect(t *testing.T, out string) {
	t.Helper()
	if r.code != 0 || r.out != out {
		t.Fatalf("got %d characters, code %d, %s; want %d characters", len(r.out), r.code, r.errOut, len(out))
	}
}

// expectFailure fails the test unless a command failed with an error that contains a text, and printed none of the secrets.
func (r result) expectFailure(t *testing.T, code int, text string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(r.out+r.errOut, secret) {
			t.Fatal("the output contains a key")
		}
	}
	if r.code != code || !strings.Contains(r.errOut, text) {
		t.Fatalf("got code %d, want %d, and error %q, want %q", r.code, code, r.errOut, text)
	}
}

// namespace creates a namespace.
func (w *suite) namespace(t *testing.T) string {
	t.Helper()
	name := controlplanetest.UniqueName("ns")
	w.Create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	return name
}
