// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package conformance_test checks that the API key features of five public products can be expressed in APIKeys and Accounts.
// There is one file for each product. The tests run on a real API server, with the binaries of the manager and the verifier,
// the webhook and an SMTP server.
package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/cli"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// suite holds what all tests share: an installation, a mail server and verifiers.
type suite struct {
	*controlplanetest.Installation

	mail      *mailbox
	verifiers *controlplanetest.Verifiers
}

var shared = controlplanetest.Shared[*suite]{New: newSuite}

func TestMain(m *testing.M) {
	const parallel = 16
	shared.Main(m, parallel)
}

func newSuite(ctx context.Context) (w *suite, err error) {
	w = &suite{}
	if w.Installation, err = controlplanetest.NewInstallation(ctx); err != nil {
		return w, err
	}
	if w.mail, err = startMailbox(); err != nil {
		return w, err
	}
	if w.verifiers, err = controlplanetest.NewVerifiers(ctx, w.Plane); err != nil {
		return w, err
	}
	return w, w.StartManager(ctx,
		"--zap-log-level=5", "--smtp-host=127.0.0.1", "--smtp-port="+strconv.Itoa(w.mail.port), "--smtp-tls=none",
		"--smtp-from=API keys <api-keys@example.com>", "--smtp-allowed-domains=example.com",
	)
}

// Stop stops the control plane and the mail server.
func (w *suite) Stop() error {
	err := w.Installation.Stop()
	if w.mail != nil {
		err = errors.Join(err, w.mail.stop())
	}
	return err
}

// kubectl runs kubectl as an administrator.
func (w *suite) kubectl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), w.Plane.Kubectl(), append([]string{"--kubeconfig=" + w.Plane.Kubeconfig()}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, w.Plane.Root()
	err := cmd.Run()
	return out.String(), err
}

// mustKubectl runs kubectl, and returns its output. It ends the test if the command fails.
func (w *suite) mustKubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.kubectl(t, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// apikey runs the kubectl plugin as an administrator, and returns its output and its exit code.
func (w *suite) apikey(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}
	code := cli.Run(t.Context(), streams, clock.RealClock{}, append([]string{"--kubeconfig=" + w.Plane.Kubeconfig()}, args...))
	return out.String(), code
}

// mustAPIKey runs the kubectl plugin, and returns its output. It ends the test if the command fails.
func (w *suite) mustAPIKey(t *testing.T, args ...string) string {
	t.Helper()
	out, code := w.apikey(t, args...)
	if code != 0 {
		t.Fatalf("kubectl apikey %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (w *suite) newNamespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: controlplanetest.UniqueName("team")}}
	w.Create(t, namespace)
	return namespace.Name
}

// newAccount creates an account, and waits until the manager, and so its webhook, has observed it.
func (w *suite) newAccount(t *testing.T, spec v1alpha1.AccountSpec) *v1alpha1.Account {
	t.Helper()
	a := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: controlplanetest.UniqueName("customer")}, Spec: spec}
	w.Create(t, a)
	controlplanetest.Eventually(t, "the manager speaks of account "+a.Name, func() error {
		if err := w.Admin.Get(t.Context(), client.ObjectKeyFromObject(a), a); err != nil {
			return err
		}
		if a.Status.ObservedGeneration != a.Generation {
			return errors.New("not yet")
		}
		return nil
	})
	return a
}

// events returns the Events about a key, by reason.
func (w *suite) events(t *testing.T, k *v1alpha1.APIKey) map[string]eventsv1.Event {
	t.Helper()
	var list eventsv1.EventList
	if err := w.Admin.List(t.Context(), &list, client.InNamespace(k.Namespace)); err != nil {
		t.Fatal(err)
	}
	found := map[string]eventsv1.Event{}
	for _, e := range list.Items {
		if e.Regarding.UID == k.UID {
			found[e.Reason] = e
		}
	}
	return found
}

// listKeys lists keys by field selectors, as `kubectl get apikeys -A --field-selector` does.
func (w *suite) listKeys(t *testing.T, fields client.MatchingFields) []v1alpha1.APIKey {
	t.Helper()
	var list v1alpha1.APIKeyList
	if err := w.Admin.List(t.Context(), &list, fields); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// expectDenied fails the test unless there is an error that contains all texts.
func expectDenied(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("it was not denied; %q was to be said", says)
		return
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
}

// currentDigest returns the digest of the current credential of a key.
func currentDigest(k *v1alpha1.APIKey) string {
	if c := controlplanetest.CredentialOf(k, v1alpha1.RoleCurrent); c != nil {
		return c.SHA256
	}
	return ""
}

// programLogs returns the logs of all programs.
func (w *suite) programLogs(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(w.Plane.Dir(), "*.log"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no logs: %v", err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// valid reports whether a key has condition Valid=True.
func valid(k *v1alpha1.APIKey) bool {
	return meta.IsStatusConditionTrue(k.Status.Conditions, v1alpha1.ConditionValid)
}

// newKey returns a key with a spec.
func newKey(namespace, name string, spec v1alpha1.APIKeySpec) *v1alpha1.APIKey {
	return controlplanetest.NewKey(namespace, name, spec.Account, func(s *v1alpha1.APIKeySpec) { *s = spec })
}

// tryChange changes the spec of a key, and returns the error of the API server.
func (w *suite) tryChange(t *testing.T, k *v1alpha1.APIKey, change func(*v1alpha1.APIKeySpec)) error {
	t.Helper()
	return controlplanetest.Change(t.Context(), w.Admin, k, change)
}
