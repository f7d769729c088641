// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const serviceHost = "apikey-manager-webhook.apikey-system.svc"

var (
	secretKey = client.ObjectKey{Namespace: "apikey-system", Name: "apikey-manager-webhook"}
	configKey = client.ObjectKey{Name: "apikey-manager"}
	epoch     = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
)

// fixture is an API server in memory, a clock, and everything that was logged.
type fixture struct {
	*testing.T
	logger logr.Logger
	clock  *clocktesting.FakeClock
	client client.WithWatch // not intercepted: what people and tests use

	mu          sync.Mutex
	writes      int                                   // by replicas, successful or not
	onWrite     func(n int, write func() error) error // nil: write
	afterGet    func(client.Object)                   // nil: nothing
	watchErr    error
	logged      bytes.Buffer
	privateKeys map[string]bool // PEM lines of each private key that was ever in the Secret
}

func newWorld(t *testing.T, objects ...client.Object) *fixture {
	t.Helper()
	w := &fixture{
		T:           t,
		clock:       clocktesting.NewFakeClock(epoch),
		client:      fake.NewClientBuilder().WithObjects(objects...).Build(),
		privateKeys: map[string]bool{},
	}
	w.logger = funcr.New(func(prefix, args string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		fmt.Fprintln(&w.logged, prefix, args)
	}, funcr.Options{Verbosity: 2})
	t.Cleanup(w.assertNoKeyLogged)
	return w
}

func (w *fixture) ctx() context.Context {
	return log.IntoContext(w.Context(), w.logger)
}

// replica returns a Rotator whose calls go through the faults of this world.
func (w *fixture) replica(hosts ...string) *Rotator {
	w.Helper()
	if len(hosts) == 0 {
		hosts = []string{serviceHost, "127.0.0.1"}
	}
	return w.replicaWithClock(w.clock, hosts...)
}

func (w *fixture) replicaWithClock(c clock.Clock, hosts ...string) *Rotator {
	w.Helper()
	r, err := New(Options{
		Client: w.intercepted(), Clock: c, Rand: rand.Reader,
		Secret: secretKey, Configuration: configKey.Name, Hosts: hosts,
	})
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *fixture) intercepted() client.WithWatch {
	return interceptor.NewClient(w.client, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			err := c.Get(ctx, key, obj, opts...)
			w.mu.Lock()
			hook := w.afterGet
			w.mu.Unlock()
			if hook != nil {
				hook(obj)
			}
			return err
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return w.write(obj, func() error { return c.Create(ctx, obj, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return w.write(obj, func() error { return c.Update(ctx, obj, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return w.write(obj, func() error { return c.Patch(ctx, obj, patch, opts...) })
		},
		Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.watchErr != nil {
				return nil, w.watchErr
			}
			return c.Watch(ctx, list, opts...)
		},
	})
}

func (w *fixture) write(obj client.Object, write func() error) error {
	w.mu.Lock()
	w.writes++
	n, onWrite := w.writes, w.onWrite
	if secret, ok := obj.(*corev1.Secret); ok {
		w.rememberKeys(secret.Data[entryKey])
		w.rememberKeys(secret.Data[entryAuthoritiesKey])
	}
	w.mu.Unlock()
	if onWrite == nil {
		return write()
	}
	return onWrite(n, write)
}

func (w *fixture) rememberKeys(pem []byte) {
	for line := range strings.Lines(string(pem)) {
		if !strings.HasPrefix(line, "-----") {
			w.privateKeys[strings.TrimSpace(line)] = true
		}
	}
}

func (w *fixture) assertNoKeyLogged() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.Contains(w.logged.String(), pemPrivateKey) {
		w.Error("a private key was logged")
	}
	for line := range w.privateKeys {
		if strings.Contains(w.logged.String(), line) {
			w.Error("part of a private key was logged")
		}
	}
}

// reset forgets the faults and the writes so far.
func (w *fixture) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes, w.onWrite, w.afterGet, w.watchErr = 0, nil, nil, nil
}

func (w *fixture) secret() *corev1.Secret {
	w.Helper()
	secret := &corev1.Secret{}
	if err := w.client.Get(w.ctx(), secretKey, secret); err != nil {
		w.Fatal(err)
	}
	return secret
}

func (w *fixture) config() *admissionregistrationv1.ValidatingWebhookConfiguration {
	w.Helper()
	config := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	if err := w.client.Get(w.ctx(), configKey, config); err != nil {
		w.Fatal(err)
	}
	return config
}

// material parses what the Secret holds.
func (w *fixture) material() material {
	w.Helper()
	return parseMaterial(w.secret().Data, nil, w.clock.Now())
}

func (w *fixture) editSecret(edit func(*corev1.Secret)) {
	w.Helper()
	secret := w.secret()
	edit(secret)
	if err := w.client.Update(w.ctx(), secret); err != nil {
		w.Fatal(err)
	}
}

func (w *fixture) setCABundle(caBundle string) {
	w.Helper()
	config := w.config()
	for i := range config.Webhooks {
		config.Webhooks[i].ClientConfig.CABundle = []byte(caBundle)
	}
	if err := w.client.Update(w.ctx(), config); err != nil {
		w.Fatal(err)
	}
}

// settle makes passes until nothing is left to do, and fails if that does not come to an end.
func (w *fixture) settle(replicas ...*Rotator) {
	w.Helper()
	for range 10 {
		w.mu.Lock()
		before := w.writes
		w.mu.Unlock()
		ready := true
		for _, r := range replicas {
			r.pass(w.ctx())
			ready = ready && r.Check(nil) == nil
		}
		w.mu.Lock()
		quiet := w.writes == before
		w.mu.Unlock()
		if quiet && ready {
			return
		}
	}
	w.Fatalf("not settled: %v", replicas[0].Check(nil))
}

// assertTrusted does a handshake with each replica as an API server would: trusting only the caBundle of each webhook.
func (w *fixture) assertTrusted(when string, replicas ...*Rotator) {
	w.Helper()
	var checked []byte
	for _, webhook := range w.config().Webhooks {
		if checked != nil && bytes.Equal(checked, webhook.ClientConfig.CABundle) {
			continue
		}
		checked = webhook.ClientConfig.CABundle
		for i, r := range replicas {
			if err := w.handshake(r, checked, serviceHost, w.clock.Now); err != nil {
				w.Fatalf("%s, %s: the API server does not trust replica %d: %v", w.clock.Now().Format(time.DateTime), when, i, err)
			}
		}
	}
}

func (w *fixture) handshake(r *Rotator, caBundle []byte, host string, now func() time.Time) error {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(caBundle) {
		return errors.New("the caBundle holds no certificate")
	}
	clientConn, serverConn := net.Pipe()
	server := tls.Server(serverConn, &tls.Config{
		GetCertificate: r.GetCertificate, Time: now, SessionTicketsDisabled: true, MinVersion: tls.VersionTLS13,
	})
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.HandshakeContext(w.Context()) })
	apiServer := tls.Client(clientConn, &tls.Config{
		RootCAs: roots, ServerName: host, Time: now, CurvePreferences: []tls.CurveID{tls.X25519}, MinVersion: tls.VersionTLS13,
	})
	err := apiServer.HandshakeContext(w.Context())
	_, _ = clientConn.Close(), serverConn.Close()
	serving.Wait()
	return err
}

// configuration is the manifest as people apply it: without a caBundle.
func configuration() *admissionregistrationv1.ValidatingWebhookConfiguration {
	webhook := func(name string) admissionregistrationv1.ValidatingWebhook {
		return admissionregistrationv1.ValidatingWebhook{
			Name: name,
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				Service: &admissionregistrationv1.ServiceReference{Namespace: "apikey-system", Name: "apikey-manager-webhook"},
			},
		}
	}
	return &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: configKey.Name},
		Webhooks:   []admissionregistrationv1.ValidatingWebhook{webhook("a.apikey-manager.io"), webhook("b.apikey-manager.io")},
	}
}

func servedLeaf(t *testing.T, r *Rotator) *x509.Certificate {
	t.Helper()
	cert, err := r.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf
}
