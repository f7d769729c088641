// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	testingclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// fixture holds an in-memory API server and reconcilers that a test runs step by step.
type fixture struct {
	t      *testing.T
	client client.WithWatch
	clock  *testingclock.FakePassiveClock
	random *keystest.Bytes
	events *events.FakeRecorder
	uids   int

	// fault returns the fault of the n-th write, counted from 1.
	fault func(n int) fault
	// hidden reports whether the cache of the reconcilers lacks an object.
	hidden func(client.Object, client.ObjectKey) bool
	// broken returns the error of a read from the API server.
	broken error

	writes []string // all writes, including those that failed
	reads  []string // reads from the API server
	issued []credential.Material
}

// fault selects the fault of a write.
type fault int

const (
	faultNone   fault = iota
	faultBefore       // the write does not reach the API server
	faultAfter        // the write succeeds, and the response is lost
	faultCrash        // the write succeeds, and the manager crashes
)

var (
	errInjected = errors.New("injected: connection refused")
	errCrashed  = errors.New("injected: the manager crashed")
)

func newFixture(t *testing.T, objects ...client.Object) *fixture {
	t.Helper()
	w := &fixture{
		t: t, clock: testingclock.NewFakePassiveClock(keystest.Epoch), random: &keystest.Bytes{Seed: t.Name()},
		events: events.NewFakeRecorder(1000),
		fault:  func(int) fault { return faultNone },
		hidden: func(client.Object, client.ObjectKey) bool { return false },
	}
	scheme, err := NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	b := fake.NewClientBuilder().WithScheme(scheme).WithGlobalResourceVersionCounter().
		WithStatusSubresource(&v1alpha1.APIKey{}, &v1alpha1.Account{}, &v1alpha1.KeyExport{})
	for name, value := range keys.Indexes {
		b = b.WithIndex(&v1alpha1.APIKey{}, name, func(o client.Object) []string { return value(o.(*v1alpha1.APIKey)) })
	}
	for name, value := range keys.AccountIndexes {
		b = b.WithIndex(&v1alpha1.Account{}, name, func(o client.Object) []string { return value(o.(*v1alpha1.Account)) })
	}
	w.client = b.Build()
	for _, o := range objects {
		w.add(o)
	}
	return w
}

// add adds an object with its status to the API server.
func (w *fixture) add(o client.Object) {
	w.t.Helper()
	if o.GetUID() == "" {
		w.uids++
		o.SetUID(types.UID(fmt.Sprint("uid-", w.uids)))
	}
	o.SetResourceVersion("")
	status := o.DeepCopyObject().(client.Object)
	w.must(w.client.Create(w.t.Context(), o))
	switch status.(type) {
	case *v1alpha1.APIKey, *v1alpha1.Account:
		status.SetResourceVersion(o.GetResourceVersion())
		w.must(w.client.Status().Update(w.t.Context(), status))
		w.read(o)
	}
}

func (w *fixture) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *fixture) read(o client.Object) {
	w.t.Helper()
	w.must(w.client.Get(w.t.Context(), client.ObjectKeyFromObject(o), o))
}

func (w *fixture) key(name string) *v1alpha1.APIKey {
	w.t.Helper()
	k := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	w.read(k)
	return k
}

func (w *fixture) account(name string) *v1alpha1.Account {
	w.t.Helper()
	a := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: name}}
	w.read(a)
	return a
}

// secret returns the Secret of a key, or nil.
func (w *fixture) secret(name string) *corev1.Secret {
	w.t.Helper()
	s := &corev1.Secret{}
	err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, s)
	if apierrors.IsNotFound(err) {
		return nil
	}
	w.must(err)
	return s
}

// change changes the spec of a key as a user does.
func (w *fixture) change(name string, change func(*v1alpha1.APIKey)) {
	w.t.Helper()
	k := w.key(name)
	change(k)
	k.Generation++
	w.must(w.client.Update(w.t.Context(), k))
}

// setAccountState suspends or resumes the account.
func (w *fixture) setAccountState(state v1alpha1.AccountState) {
	w.t.Helper()
	a := w.account("acme")
	a.Spec.State = state
	a.Generation++
	w.must(w.client.Update(w.t.Context(), a))
}

// cached returns the client of the reconcilers. Its reads omit hidden objects, and its writes may fail.
func (w *fixture) cached() client.WithWatch {
	return interceptor.NewClient(w.client, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if _, whole := o.(*corev1.Secret); whole {
				w.t.Errorf("Secret %s was read through the cache, which then stores the data of all Secrets", key)
			}
			if w.hidden(o, key) {
				return apierrors.NewNotFound(corev1.Resource("hidden"), key.Name)
			}
			return c.Get(ctx, key, o, options...)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			return w.write("create", o, func() error {
				if o.GetUID() == "" {
					w.uids++
					o.SetUID(types.UID(fmt.Sprint("uid-", w.uids)))
				}
				return c.Create(ctx, o, options...)
			})
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.UpdateOption) error {
			return w.write("update", o, func() error { return c.Update(ctx, o, options...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
			return w.write("patch", o, func() error { return c.Patch(ctx, o, p, options...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, options ...client.ApplyOption) error {
			return w.write("apply", o.(client.Object), func() error { return c.Apply(ctx, o, options...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			return w.write("delete", o, func() error { return c.Delete(ctx, o, options...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, options ...client.SubResourceUpdateOption) error {
			return w.write("update "+sub+" of", o, func() error { return c.SubResource(sub).Update(ctx, o, options...) })
		},
	})
}

// live returns the reader that the reconcilers use as the API server.
func (w *fixture) live() client.WithWatch {
	return interceptor.NewClient(w.client, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			w.reads = append(w.reads, fmt.Sprintf("%T %s", o, key))
			if w.broken != nil {
				return w.broken
			}
			return c.Get(ctx, key, o, options...)
		},
	})
}

func (w *fixture) write(verb string, o client.Object, do func() error) error {
	w.writes = append(w.writes, fmt.Sprintf("%s %s %s", verb, strings.TrimPrefix(strings.TrimPrefix(fmt.Sprintf("%T", o), "*v1alpha1."), "*v1."), o.GetName()))
	if s, ok := o.(*corev1.Secret); ok {
		w.issued = append(w.issued, slices.Clone(s.Data[keys.EntryCurrent]))
	}
	becomes := w.fault(len(w.writes))
	if becomes == faultBefore {
		return errInjected
	}
	if err := do(); err != nil {
		return err
	}
	switch becomes {
	case faultAfter:
		return errInjected
	case faultCrash:
		panic(errCrashed)
	case faultNone, faultBefore:
	}
	return nil
}

func (w *fixture) keys() *APIKeyReconciler {
	return &APIKeyReconciler{
		Client: w.cached(), APIReader: w.live(), Clock: w.clock, Random: w.random, Settings: keystest.Settings, Events: EventEmitter{Recorder: w.events},
	}
}

func (w *fixture) accounts() *AccountReconciler {
	return &AccountReconciler{Client: w.cached(), APIReader: w.live(), Clock: w.clock, Settings: keystest.Settings}
}

// reconcileKey runs one reconciliation of a key, and checks its status.
func (w *fixture) reconcileKey(name string) (ctrl.Result, error) {
	w.t.Helper()
	return w.reconcileKeyWith(w.keys(), name)
}

// reconcileKeyWith is like reconcileKey, with a reconciler that keeps its state.
func (w *fixture) reconcileKeyWith(r *APIKeyReconciler, name string) (ctrl.Result, error) {
	w.t.Helper()
	result, err := reconcile.AsReconciler(r.Client, r).Reconcile(w.t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "default", Name: name}})
	w.checkStatuses()
	return result, err
}

func (w *fixture) reconcileAccount(name string) (ctrl.Result, error) {
	w.t.Helper()
	r := w.accounts()
	result, err := reconcile.AsReconciler(r.Client, r).Reconcile(w.t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: name}})
	w.checkStatuses()
	return result, err
}

// settle runs reconciliations until nothing is written any more. Errors are retried, as the queue does.
func (w *fixture) settle() {
	w.t.Helper()
	const most = 50
	for range most {
		before, failed := len(w.writes), w.pass()
		if len(w.writes) == before && !failed {
			return
		}
	}
	w.t.Fatalf("the writes do not end; the last ones were %q", w.writes[max(0, len(w.writes)-10):])
}

// pass runs one reconciliation of each key and account.
func (w *fixture) pass() (failed bool) {
	w.t.Helper()
	var all v1alpha1.APIKeyList
	w.must(w.client.List(w.t.Context(), &all))
	for i := range all.Items {
		if _, err := w.reconcileKey(all.Items[i].Name); err != nil {
			failed = true
		}
	}
	var accounts v1alpha1.AccountList
	w.must(w.client.List(w.t.Context(), &accounts))
	for i := range accounts.Items {
		if _, err := w.reconcileAccount(accounts.Items[i].Name); err != nil {
			failed = true
		}
	}
	return failed
}

// settleOrCrash is like settle for a manager that may crash.
func (w *fixture) settleOrCrash() (crashed bool) {
	w.t.Helper()
	defer func() {
		if p := recover(); p != nil {
			if p != errCrashed { //nolint:errorlint // compares the value itself
				panic(p)
			}
			crashed = true
		}
	}()
	w.settle()
	return false
}

var (
	clockTime = regexp.MustCompile(`\d{2}:\d{2}|\d{4}-\d{2}-\d{2}T`)
	oneWord   = regexp.MustCompile(`^[A-Z][A-Za-z]{1,39}$`)
)

// checkStatuses checks all statuses: conditions have the generation of the status (Enforced may have the last one that
// verifiers observed), reasons are one word, messages are one short sentence without a time, and nothing contains key
// material.
func (w *fixture) checkStatuses() {
	w.t.Helper()
	var all v1alpha1.APIKeyList
	w.must(w.client.List(w.t.Context(), &all))
	for _, k := range all.Items {
		for _, c := range k.Status.Conditions {
			lags := c.Type == v1alpha1.ConditionEnforced && c.ObservedGeneration < k.Status.ObservedGeneration
			if c.ObservedGeneration != k.Status.ObservedGeneration && !lags {
				w.t.Errorf("key %s: condition %s is of generation %d, the status of %d", k.Name, c.Type, c.ObservedGeneration, k.Status.ObservedGeneration)
			}
			if c.Type == v1alpha1.ConditionStalled && c.Status != metav1.ConditionTrue {
				w.t.Errorf("key %s: Stalled is %s", k.Name, c.Status)
			}
			w.checkMessage("key "+k.Name+": "+c.Type, c.Reason, c.Message)
		}
		for _, h := range k.Status.History {
			w.checkMessage("key "+k.Name+": history", h.Reason, h.Message)
		}
		if n := len(k.Status.Conditions); n > 0 && n < 3 {
			w.t.Errorf("key %s has %d conditions: Ready, Accepted and Valid belong together", k.Name, n)
		}
		w.checkNoMaterial(fmt.Sprintf("key %s", k.Name), fmt.Sprintf("%+v", k))
	}
}

func (w *fixture) checkMessage(where, reason, message string) {
	w.t.Helper()
	switch {
	case !oneWord.MatchString(reason):
		w.t.Errorf("%s: reason %q", where, reason)
	case message == "" || len(message) > 256 || strings.ContainsAny(message, "\n\r"):
		w.t.Errorf("%s: message %q is not one short line", where, message)
	case strings.HasSuffix(message, "."):
		w.t.Errorf("%s: message %q ends with a full stop", where, message)
	case clockTime.MatchString(message) && !strings.Contains(message, "such as"):
		w.t.Errorf("%s: message %q contains a time", where, message)
	}
}

func (w *fixture) checkNoMaterial(where, text string) {
	w.t.Helper()
	for _, m := range w.issued {
		if parts := strings.Split(string([]byte(m)), "_"); len(parts) == 3 && strings.Contains(text, parts[2][:20]) {
			w.t.Errorf("%s contains key material", where)
		}
	}
}

// emittedEvents returns the events so far.
func (w *fixture) emittedEvents() []string {
	w.t.Helper()
	var list []string
	for {
		select {
		case e := <-w.events.Events:
			w.checkNoMaterial("an event", e)
			list = append(list, e)
		default:
			return list
		}
	}
}

// expectSound checks the invariant: an Active key's own Secret holds the credential that verifiers know.
func (w *fixture) expectSound(name string) {
	w.t.Helper()
	k, s := w.key(name), w.secret(keys.SecretName(w.key(name)))
	if s == nil {
		w.t.Fatalf("key %s has no Secret", name)
	}
	if !metav1.IsControlledBy(s, k) {
		w.t.Errorf("Secret %s is not controlled by its key", s.Name)
	}
	current := -1
	for i, c := range k.Status.Credentials {
		if c.Role == v1alpha1.RoleCurrent {
			current = i
		}
	}
	if current < 0 {
		w.t.Fatalf("key %s has no current credential", name)
	}
	material := credential.Material(s.Data[keys.EntryCurrent])
	if got, want := material.SHA256(), k.Status.Credentials[current].SHA256; got != want {
		w.t.Errorf("key %s: the Secret holds digest %s, verifiers know %s", name, got, want)
	}
	if k.Status.SecretRef == nil || k.Status.SecretRef.ResourceVersion != s.ResourceVersion {
		w.t.Errorf("the status of key %s has %+v, its Secret has version %s", name, k.Status.SecretRef, s.ResourceVersion)
	}
}

// at returns the time that is d after the start of the test.
func at(d time.Duration) time.Time { return keystest.Epoch.Add(d) }
