// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// TestReconcile_RefusedWriteRevealsNoKey: if an admission plugin quotes the Secret in its message, with any code, the
// status, Events and errors contain no key, and the write is retried after a minute. A write that the authorizer denied fails, so
// that it is retried soon, without an Event.
func TestReconcile_RefusedWriteRevealsNoKey(t *testing.T) {
	t.Parallel()
	const (
		denied = `admission webhook "w.example.com" denied the request`
		denial = `secrets is forbidden: User "manager" cannot create resource "secrets" in API group "" in the namespace "default"`
	)
	for name, tc := range map[string]struct {
		status  metav1.Status
		message string
		want    string
		fails   bool
	}{
		"forbidden":      {metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden}, "no Secrets", "no Secrets: [redacted]", false},
		"not found":      {metav1.Status{Code: 404, Reason: metav1.StatusReasonNotFound}, denied, denied + ": [redacted]", false},
		"a conflict":     {metav1.Status{Code: 409, Reason: metav1.StatusReasonConflict}, denied, denied + ": [redacted]", false},
		"that exists":    {metav1.Status{Code: 409, Reason: metav1.StatusReasonAlreadyExists}, denied, denied + ": [redacted]", false},
		"internal error": {metav1.Status{Code: 500, Reason: metav1.StatusReasonInternalError}, `failed calling webhook "w.example.com"`, "admission webhook w.example.com could not be called", true},
		"the authorizer": {metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden}, denial, denial + ": [redacted]", true},
		"no reason":      {metav1.Status{Code: 502}, "bad gateway", "the API server did not respond", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t, keystest.NewAccount("acme"), keystest.Key("web"))
			if _, err := w.reconcileAccount("acme"); err != nil {
				t.Fatal(err)
			}
			key := ""
			r := w.keys()
			r.Client = interceptor.NewClient(w.cached(), interceptor.Funcs{
				Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
					key = string(o.(*corev1.Secret).Data[keys.EntryCurrent])
					status := tc.status
					status.Message = fmt.Sprintf("%s: %s", tc.message, key)
					return &apierrors.StatusError{ErrStatus: status}
				},
			})
			result, err := r.Reconcile(t.Context(), w.key("web"))
			if (err != nil) != tc.fails || !tc.fails && result.RequeueAfter != time.Minute {
				t.Errorf("got %+v, %v", result, err)
			}
			ready := meta.FindStatusCondition(w.key("web").Status.Conditions, v1alpha1.ConditionReady)
			if ready == nil || ready.Reason != v1alpha1.ReasonWriteFailed || !strings.HasSuffix(ready.Message, tc.want) {
				t.Fatalf("Ready is %+v, want ... %s", ready, tc.want)
			}
			emitted := strings.Join(w.emittedEvents(), "\n")
			if tc.fails == strings.Contains(emitted, ready.Message) {
				t.Errorf("events: %s", emitted)
			}
			for err := err; err != nil; err = errors.Unwrap(err) {
				if key == "" || strings.Contains(fmt.Sprintf("%+v %#v", err, err), key) {
					t.Error("the error contains the key")
				}
			}
		})
	}
}

func TestReconcile_ImmutableSecretIsNotWritten(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web"))(t)
	s, yes := w.secret("web"), true
	s.Immutable = &yes
	w.must(w.client.Update(t.Context(), s))
	w.settle()
	w.expectSound("web")
	w.clock.SetTime(at(time.Hour))
	w.change("web", keystest.Requested(at(30*time.Minute)))
	w.writes = nil
	w.settle()
	for _, write := range w.writes {
		if write != "update status of APIKey web" {
			t.Errorf("wrote %q", w.writes)
		}
	}
	k := w.key("web")
	if c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionStalled); c == nil || c.Reason != v1alpha1.ReasonSecretImmutable {
		t.Errorf("Stalled is %+v", c)
	}
	if len(k.Status.Credentials) != 1 {
		t.Errorf("staged a credential that cannot be written: %+v", k.Status.Credentials)
	}
	w.must(w.client.Delete(t.Context(), w.secret("web")))
	w.settle()
	w.expectSound("web")
}

// TestReconcile_ImmutableSecretKeepsPreviousKey: the status does not contain whether the Secret is immutable.
func TestReconcile_ImmutableSecretKeepsPreviousKey(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web", keystest.Rotation("", "1h"), keystest.PreviousKey(v1alpha1.PreviousKeyInclude)))(t)
	w.clock.SetTime(at(time.Hour))
	w.change("web", keystest.Requested(at(30*time.Minute)))
	w.settle()
	s, yes := w.secret("web"), true
	if len(s.Data) != 2 {
		t.Fatalf("the Secret has %d entries, want both keys", len(s.Data))
	}
	s.Immutable = &yes
	w.must(w.client.Update(t.Context(), s))
	w.settle()
	w.clock.SetTime(at(3 * time.Hour))
	w.writes = nil
	w.settle()
	for _, write := range w.writes {
		if write != "update status of APIKey web" {
			t.Errorf("wrote %q", w.writes)
		}
	}
	if c := meta.FindStatusCondition(w.key("web").Status.Conditions, v1alpha1.ConditionStalled); c == nil || c.Reason != v1alpha1.ReasonSecretImmutable {
		t.Errorf("Stalled is %+v", c)
	}
}
