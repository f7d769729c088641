// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package conformance_test proves that what five public products offer their users for API keys can be said in our
// manifests and is carried out: one file a system, on a real API server, with the manager's own binary, its webhook and
// a real SMTP server, and with verifiers that are asked as a gateway asks.
package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

const (
	// patience is how long anything may take to come about: a busy laptop, not a fast one.
	patience = controlplanetest.Timeout
	// quietPeriod is how long nothing may happen for it to count as nothing.
	quietPeriod = 3 * time.Second
)

// suite is what all tests share: a control plane, a manager that guards it, and a mail server and verifiers.
type suite struct {
	plane     *controlplane.ControlPlane
	admin     client.Client
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
	port, err := controlplane.FreePort()
	if err != nil {
		return w, err
	}
	if w.plane, err = controlplane.Start(ctx, controlplane.Options{WebhookPort: port}); err != nil {
		return w, err
	}
	if w.admin, err = controlplanetest.NewClient(w.plane.Config()); err != nil {
		return w, err
	}
	if w.mail, err = startMailbox(); err != nil {
		return w, err
	}
	if w.verifiers, err = controlplanetest.NewVerifiers(ctx, w.plane); err != nil {
		return w, err
	}
	_, err = controlplanetest.StartManager(ctx, w.plane, controlplane.ManagerOptions{WebhookPort: port, Flags: []string{
		"--zap-log-level=5", "--smtp-host=127.0.0.1", "--smtp-port=" + strconv.Itoa(w.mail.port), "--smtp-tls=none",
		"--smtp-from=API keys <api-keys@example.com>", "--smtp-allowed-domains=example.com",
	}})
	if err != nil {
		return w, err
	}
	return w, w.awaitWebhooks(ctx)
}

// Stop implements what a shared world needs.
func (w *suite) Stop() error {
	var problems []error
	if w.plane != nil {
		problems = append(problems, w.plane.Stop())
	}
	if w.mail != nil {
		problems = append(problems, w.mail.stop())
	}
	return errors.Join(problems...)
}

// awaitWebhooks waits until the API server asks the webhook. It tells by a selector that only the webhook refuses.
func (w *suite) awaitWebhooks(ctx context.Context) error {
	probe := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "probe"}}
	probe.Spec.AllowedNamespaces = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Bogus"}}}
	return controlplanetest.Await(ctx, func() error {
		if w.admin.Create(ctx, probe.DeepCopy(), client.DryRunAll) == nil {
			return errors.New("the API server does not ask the webhook")
		}
		return nil
	})
}

// clientAs is a client of a person who has the rights that were given to them, and no others.
func (w *suite) clientAs(t *testing.T, user string) client.Client {
	t.Helper()
	config := w.plane.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	return controlplanetest.Connect(t, config)
}

// kubectl runs a command as an administrator.
func (w *suite) kubectl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), w.plane.Kubectl(), append([]string{"--kubeconfig=" + w.plane.Kubeconfig()}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, w.plane.Root()
	err := cmd.Run()
	return out.String(), err
}

// mustKubectl runs a command that must succeed, and returns what it says.
func (w *suite) mustKubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.kubectl(t, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

var counter atomic.Int64

func uniqueName(prefix string) string { return fmt.Sprintf("%s-%d", prefix, counter.Add(1)) }

func (w *suite) newNamespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: uniqueName("team")}}
	w.create(t, namespace)
	return namespace.Name
}

// newAccount creates an account, and waits until the manager, and with it the webhook, has heard of it.
func (w *suite) newAccount(t *testing.T, spec v1alpha1.AccountSpec) *v1alpha1.Account {
	t.Helper()
	a := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: uniqueName("customer")}, Spec: spec}
	w.create(t, a)
	controlplanetest.Eventually(t, "the manager speaks of account "+a.Name, func() error {
		if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(a), a); err != nil {
			return err
		}
		if a.Status.ObservedGeneration != a.Generation {
			return errors.New("not yet")
		}
		return nil
	})
	return a
}

func newKey(namespace, name string, spec v1alpha1.APIKeySpec) *v1alpha1.APIKey {
	return &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
}

func (w *suite) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := w.admin.Create(t.Context(), o); err != nil {
			t.Fatalf("create %s: %v", o.GetName(), err)
		}
	}
}

// issue creates keys and waits until they are in use.
func (w *suite) issue(t *testing.T, list ...*v1alpha1.APIKey) {
	t.Helper()
	for _, k := range list {
		w.create(t, k)
	}
	for _, k := range list {
		w.become(t, k, v1alpha1.StateActive)
	}
}

// change changes a key as kubectl patch does.
func (w *suite) change(t *testing.T, k *v1alpha1.APIKey, change func(*v1alpha1.APIKeySpec)) {
	t.Helper()
	if err := w.tryChange(t, k, change); err != nil {
		t.Fatalf("change %s: %v", k.Name, err)
	}
}

func (w *suite) tryChange(t *testing.T, k *v1alpha1.APIKey, change func(*v1alpha1.APIKeySpec)) error {
	t.Helper()
	before, after := k.DeepCopy(), k.DeepCopy()
	change(&after.Spec)
	err := w.admin.Patch(t.Context(), after, client.MergeFrom(before))
	if err == nil {
		*k = *after
	}
	return err
}

// become waits until what is declared of a key has been carried out, and the key is in a state.
func (w *suite) become(t *testing.T, k *v1alpha1.APIKey, want v1alpha1.ObservedState) {
	t.Helper()
	w.awaitStatus(t, k, fmt.Sprintf("APIKey %s is %s", k.Name, want), func() error {
		ready := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady)
		if k.Status.State != want || ready == nil || ready.Status != metav1.ConditionTrue || ready.Reason != string(want) {
			return fmt.Errorf("state %s, conditions %v", k.Status.State, k.Status.Conditions)
		}
		return nil
	})
}

// awaitStatus waits until the status speaks of the spec as it is, and the check passes.
func (w *suite) awaitStatus(t *testing.T, k *v1alpha1.APIKey, what string, check func() error) {
	t.Helper()
	controlplanetest.Eventually(t, what, func() error {
		if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k); err != nil {
			return err
		}
		if k.Status.ObservedGeneration != k.Generation {
			return fmt.Errorf("the status speaks of generation %d, not %d", k.Status.ObservedGeneration, k.Generation)
		}
		return check()
	})
}

// secret is the Secret of a key.
func (w *suite) secret(t *testing.T, k *v1alpha1.APIKey) *corev1.Secret {
	t.Helper()
	secret := &corev1.Secret{}
	if err := w.admin.Get(t.Context(), client.ObjectKey{Namespace: k.Namespace, Name: keys.SecretName(k)}, secret); err != nil {
		t.Fatal(err)
	}
	return secret
}

// material is the entry of the default shape.
func (w *suite) material(t *testing.T, k *v1alpha1.APIKey) string {
	t.Helper()
	return string(w.secret(t, k).Data[keys.EntryCurrent])
}

// awaitDeleted waits until an object is not there any more.
func (w *suite) awaitDeleted(t *testing.T, o client.Object) {
	t.Helper()
	name := client.ObjectKeyFromObject(o)
	controlplanetest.Eventually(t, name.String()+" is gone", func() error {
		switch err := w.admin.Get(t.Context(), name, o); {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		return errors.New("it is there")
	})
}

// events are the reasons of what was told about a key.
func (w *suite) events(t *testing.T, k *v1alpha1.APIKey) map[string]eventsv1.Event {
	t.Helper()
	var list eventsv1.EventList
	if err := w.admin.List(t.Context(), &list, client.InNamespace(k.Namespace)); err != nil {
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

// listKeys lists the keys of an account, as `kubectl get apikeys -A --field-selector` does.
func (w *suite) listKeys(t *testing.T, fields client.MatchingFields) []v1alpha1.APIKey {
	t.Helper()
	var list v1alpha1.APIKeyList
	if err := w.admin.List(t.Context(), &list, fields); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// expectDenied wants an error that says all of that.
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

// reasons are those of a key's history, in order.
func reasons(k *v1alpha1.APIKey) []string {
	var list []string
	for _, h := range k.Status.History {
		list = append(list, h.Reason)
	}
	return list
}

// credentialInRole is the one of a role that verifiers know; nil: there is none.
func credentialInRole(k *v1alpha1.APIKey, role v1alpha1.CredentialRole) *v1alpha1.Credential {
	for i := range k.Status.Credentials {
		if k.Status.Credentials[i].Role == role {
			return &k.Status.Credentials[i]
		}
	}
	return nil
}

// currentDigest is the digest of what verifiers take for current.
func currentDigest(k *v1alpha1.APIKey) string {
	if c := credentialInRole(k, v1alpha1.RoleCurrent); c != nil {
		return c.SHA256
	}
	return ""
}

func digest(material string) string { return credential.Material(material).SHA256() }

// programLogs are all that the programs of this world wrote down.
func (w *suite) programLogs(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(w.plane.Dir(), "*.log"))
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

// valid is whether verifiers accept the key now.
func valid(k *v1alpha1.APIKey) bool {
	return meta.IsStatusConditionTrue(k.Status.Conditions, v1alpha1.ConditionValid)
}

func objectKey(o client.Object) client.ObjectKey { return client.ObjectKeyFromObject(o) }

func differs(got, want string) error {
	if got != want {
		return fmt.Errorf("it is %q, want %q", got, want)
	}
	return nil
}
