// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// patience bounds what hangs.
const patience = time.Minute

// secret is the key of these tests.
const secret = "sk_test_0123456789abcdefghijklmnop"

// TestVerifier runs the command as main does, on a real API server.
func TestVerifier(t *testing.T) {
	if testing.Short() {
		t.Skip("a control plane takes seconds")
	}
	ctrl.SetLogger(logr.Discard())
	plane, err := controlplane.Start(t.Context(), controlplane.Options{WithoutControllers: true})
	if errors.Is(err, controlplane.ErrNoBinaries) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	w := &world{plane: plane, admin: connect(t, plane)}
	w.issue(t)
	w.start(t)
	t.Run("a good key passes", func(t *testing.T) { w.expect(t, http.StatusOK, w.ask(t)) })
	t.Run("a revoked key does not", func(t *testing.T) {
		w.revoke(t)
		w.expect(t, http.StatusUnauthorized, w.ask(t))
	})
}

// world is what the tests of one control plane share. They run one after the other.
type world struct {
	plane *controlplane.ControlPlane
	admin client.Client
	addresses map[string]string
}

func connect(t *testing.T, plane *controlplane.ControlPlane) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), clientgoscheme.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(plane.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// issue does what a manager would: it makes an account and a key, and writes what it accepted to the status.
func (w *world) issue(t *testing.T) {
	t.Helper()
	digest := sha256.Sum256([]byte(secret))
	k := &v1alpha1.APIKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceDefault, Name: "shop"},
		Spec:       v1alpha1.APIKeySpec{Account: "acme", Scopes: []string{"orders:read"}},
	}
	for _, o := range []client.Object{&v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}, k} {
		if err := w.admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	k.Status.State = v1alpha1.StateActive
	k.Status.Credentials = []v1alpha1.Credential{{
		ID: "0123456789ab", SHA256: hex.EncodeToString(digest[:]), Hint: "mnop", Role: v1alpha1.RoleCurrent, IssuedAt: metav1.Now(),
	}}
	if err := w.admin.Status().Update(t.Context(), k); err != nil {
		t.Fatal(err)
	}
}

func (w *world) revoke(t *testing.T) {
	t.Helper()
	k := &v1alpha1.APIKey{}
	if err := w.admin.Get(t.Context(), client.ObjectKey{Namespace: corev1.NamespaceDefault, Name: "shop"}, k); err != nil {
		t.Fatal(err)
	}
	k.Spec.State = v1alpha1.KeyStateRevoked
	if err := w.admin.Update(t.Context(), k); err != nil {
		t.Fatal(err)
	}
}

// start runs the verifier until the test ends, and waits until it is ready.
func (w *world) start(t *testing.T) {
	t.Helper()
	w.addresses = map[string]string{}
	args := []string{"--drain-delay=0s", "--kubeconfig=" + w.plane.Kubeconfig()}
	for _, flag := range []string{"grpc-bind-address", "http-bind-address", "usage-bind-address", "health-probe-bind-address"} {
		port, err := controlplane.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		w.addresses[flag] = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		args = append(args, "--"+flag+"="+w.addresses[flag])
	}
	cmd := newCommand()
	cmd.SetArgs(args)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w.expect(t, http.StatusOK, w.to(t, "health-probe-bind-address", "/readyz"))
}

func (w *world) to(t *testing.T, flag, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.addresses[flag]+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (w *world) ask(t *testing.T) *http.Request {
	t.Helper()
	r := w.to(t, "http-bind-address", "/authz")
	r.Header.Set("X-Api-Key", secret)
	return r
}

// expect sends a request until it gets an answer with a status, which it returns.
func (w *world) expect(t *testing.T, status int, r *http.Request) *http.Response {
	t.Helper()
	last := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		response, err := insecure.Do(r)
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode == status && err == nil {
			response.Body = io.NopCloser(strings.NewReader(string(body)))
			return response
		}
		last = response.Status + ": " + string(body)
	}
	t.Fatalf("%s: want %d, got %s", r.URL, status, last)
	return nil
}

// insecure asks the verifier, whose certificate is its own.
var insecure = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
