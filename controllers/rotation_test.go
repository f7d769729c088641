// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/usage"
)

const (
	writeStatus = "update status of APIKey web"
	writeSecret = "update Secret web"
)

// requestRotation requests a rotation now.
func (w *fixture) requestRotation(options ...keystest.KeyOption) {
	w.t.Helper()
	w.change("web", func(k *v1alpha1.APIKey) {
		keystest.Rotation("", "1h")(k)
		keystest.Requested(w.clock.Now())(k)
		for _, option := range options {
			option(k)
		}
	})
}

func (w *fixture) expectWrites(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.writes); diff != "" {
		w.t.Errorf("writes (-want +got):\n%s", diff)
	}
	w.writes = nil
}

func (w *fixture) mustReconcile(r *APIKeyReconciler, name string) time.Duration {
	w.t.Helper()
	result, err := w.reconcileKeyWith(r, name)
	w.must(err)
	return result.RequeueAfter
}

// TestRotation_WritesTheSecretOnce: a rotation takes three status writes and one write of the Secret. A request in the
// same second in which the credential was issued is carried out too, once.
func TestRotation_WritesTheSecretOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options []keystest.KeyOption
		over    []string
	}{
		"default":                         {over: []string{writeStatus}},
		"with the previous key":           {[]keystest.KeyOption{keystest.PreviousKey(v1alpha1.PreviousKeyInclude)}, []string{writeSecret, writeStatus}},
		"a template without the previous": {[]keystest.KeyOption{keystest.Data(map[string]string{"api-key": "{{ .Key }}"})}, []string{writeStatus}},
		"a template with the previous": {
			[]keystest.KeyOption{keystest.Data(map[string]string{"api-key": "{{ .Key }}", "old": "{{ .PreviousKey }}"})}, []string{writeSecret, writeStatus},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := settled(keystest.Key("web", tc.options...))(t)
			first := w.secret("web").Data["api-key"]
			w.requestRotation()
			r := w.keys()
			w.reads = nil
			w.mustReconcile(r, "web")
			w.expectWrites(writeStatus, writeSecret, writeStatus)
			if diff := cmp.Diff([]string{"*v1.Secret default/web"}, w.reads); diff != "" {
				t.Errorf("reads from the API server (-want +got):\n%s", diff)
			}
			if n := len(r.confirmed.byKey); n > 0 {
				t.Errorf("%d Secrets are kept after the reconciliation", n)
			}
			w.expectSound("web")
			k := w.key("web")
			if got := k.Status.Rotation.ObservedRequestedAt; got != k.Spec.Rotation.RequestedAt || string(w.secret("web").Data["api-key"]) == string(first) {
				t.Errorf("the request is acknowledged as %q, or the Secret holds the key as before", got)
			}
			if emitted := w.emittedEvents(); len(emitted) != 1 {
				t.Errorf("emitted %q", emitted)
			}
			w.mustReconcile(r, "web")
			w.expectWrites()
			w.clock.SetTime(at(time.Hour))
			w.mustReconcile(r, "web")
			w.expectWrites(tc.over...)
			w.expectSound("web")
			if n := len(w.key("web").Status.Credentials); n != 1 {
				t.Errorf("after the overlap there are %d credentials", n)
			}
		})
	}
}

// TestRotation_FailsOnConcurrentChange: the Secret that was read before the status was written is not written if another manager
// changed it since, although it is not read again.
func TestRotation_FailsOnConcurrentChange(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web"))(t)
	first := w.secret("web").Data["api-key"]
	w.requestRotation()
	w.fault = func(n int) fault {
		if n == 2 {
			fenced := w.secret("web")
			fenced.Annotations = map[string]string{keys.AnnotationFence: fenced.ResourceVersion}
			w.must(w.client.Update(t.Context(), fenced))
		}
		return faultNone
	}
	r := w.keys()
	if wait := w.mustReconcile(r, "web"); wait != staleRequeueAfter {
		t.Errorf("requeue after %s, want %s", wait, staleRequeueAfter)
	}
	w.expectWrites(writeStatus, writeSecret)
	if string(w.secret("web").Data["api-key"]) != string(first) {
		t.Error("the Secret that another manager changed was overwritten")
	}
	w.fault = func(int) fault { return faultNone }
	w.mustReconcile(r, "web")
	w.expectWrites(writeSecret, writeStatus)
	w.expectSound("web")
}

// newWaitingRotation returns a fixture in which a rotation waits for verifiers.
func newWaitingRotation(t *testing.T, f *fakeVerifiers) (*fixture, *APIKeyReconciler) {
	t.Helper()
	w := settled(keystest.Key("web"))(t)
	w.add(slice("a", "10.0.0.1", "10.0.0.2"))
	r := w.keys()
	r.propagation = newCredentialPropagation(w.cached(), w.clock, f.verifiers())
	r.propagation.enqueueCh = make(chan event.GenericEvent, 10)
	w.requestRotation()
	if wait := w.mustReconcile(r, "web"); wait != 5*time.Second {
		t.Errorf("requeue after %s, want 5s", wait)
	}
	w.expectWrites(writeStatus)
	return w, r
}

func respondingVerifiers(addresses ...string) *fakeVerifiers {
	f := &fakeVerifiers{reports: map[string]usage.Report{}, knowsNone: map[string]bool{}}
	for _, address := range addresses {
		f.reports[address+":8443"] = usage.Report{Synced: true}
	}
	return f
}

// TestRotation_WaitsForVerifiers: the Secret is written after every live verifier reported that it knows the staged
// credential.
func TestRotation_WaitsForVerifiers(t *testing.T) {
	t.Parallel()
	f := respondingVerifiers("10.0.0.1", "10.0.0.2")
	f.knowsNone["10.0.0.2:8443"] = true
	w, r := newWaitingRotation(t, f)
	if again := r.propagation.poll(t.Context()); !again || len(r.propagation.enqueueCh) > 0 {
		t.Errorf("one verifier does not know the credential: polls again %t, enqueued %d", again, len(r.propagation.enqueueCh))
	}
	w.mustReconcile(r, "web")
	w.expectWrites()
	f.knowsNone = nil
	if again := r.propagation.poll(t.Context()); again || len(r.propagation.enqueueCh) != 1 {
		t.Errorf("all verifiers know the credential: polls again %t, enqueued %d", again, len(r.propagation.enqueueCh))
	}
	w.mustReconcile(r, "web")
	w.expectWrites(writeSecret, writeStatus)
	w.expectSound("web")
	if n := len(r.staged.byKey) + len(r.propagation.waits); n > 0 {
		t.Errorf("%d entries are kept after the rotation", n)
	}
}

// TestRotation_WaitsAtMostFiveSeconds: a verifier that cannot be reached, does not respond, or is not synced delays a
// rotation by five seconds.
func TestRotation_WaitsAtMostFiveSeconds(t *testing.T) {
	t.Parallel()
	unsynced := respondingVerifiers("10.0.0.1")
	unsynced.reports["10.0.0.2:8443"] = usage.Report{}
	for name, f := range map[string]*fakeVerifiers{"silent": respondingVerifiers("10.0.0.1"), "unsynced": unsynced} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, r := newWaitingRotation(t, f)
			w.clock.SetTime(at(5*time.Second - time.Millisecond))
			r.propagation.poll(t.Context())
			w.mustReconcile(r, "web")
			w.expectWrites()
			w.clock.SetTime(at(5 * time.Second))
			w.mustReconcile(r, "web")
			w.expectWrites(writeSecret, writeStatus)
		})
	}
}

// TestRotation_DoesNotWaitWithoutVerifiers: without a live verifier the first poll ends the wait.
func TestRotation_DoesNotWaitWithoutVerifiers(t *testing.T) {
	t.Parallel()
	w, r := newWaitingRotation(t, &fakeVerifiers{connectionRefused: map[string]bool{"10.0.0.1:8443": true, "10.0.0.2:8443": true}})
	w.must(w.client.Delete(t.Context(), slice("a")))
	r.propagation.poll(t.Context())
	w.mustReconcile(r, "web")
	w.expectWrites(writeSecret, writeStatus)
}

// TestRotation_AnotherManagerContinues: the credential that a manager staged is lost with its process. Another manager
// stages a new one, and the list of lost ones in the status stays within its limit. The slow manager cannot write its
// credential any more.
func TestRotation_AnotherManagerContinues(t *testing.T) {
	t.Parallel()
	f := respondingVerifiers("10.0.0.1")
	w, first := newWaitingRotation(t, f)
	takeOver := func() *APIKeyReconciler {
		r := w.keys()
		r.propagation = newCredentialPropagation(w.cached(), w.clock, f.verifiers())
		w.mustReconcile(r, "web")
		return r
	}
	second := takeOver()
	w.expectWrites(writeStatus)
	third := takeOver()
	w.expectWrites(writeSecret, writeStatus) // the fence
	var staged []string
	for _, c := range w.key("web").Status.Credentials {
		if c.Role == v1alpha1.RoleStaged {
			staged = append(staged, c.SHA256)
		}
	}
	want := []string{second.staged.byKey[w.key("web").UID].Material.SHA256(), third.staged.byKey[w.key("web").UID].Material.SHA256()}
	if diff := cmp.Diff(want, staged); diff != "" {
		t.Errorf("staged (-want +got):\n%s", diff)
	}
	w.clock.SetTime(at(5 * time.Second))
	w.mustReconcile(third, "web")
	w.expectWrites(writeSecret, writeStatus)
	w.expectSound("web")
	for _, r := range []*APIKeyReconciler{first, second} {
		w.mustReconcile(r, "web")
	}
	w.expectWrites()
	w.expectSound("web")
	if _, has := w.secret("web").Annotations[keys.AnnotationFence]; has {
		t.Error("the fence annotation was not removed")
	}
}

// TestRotation_SlowManagerCannotWrite stops a manager right before it writes the Secret, and lets two others continue.
// Its write must fail, or write a credential that the status still lists.
func TestRotation_SlowManagerCannotWrite(t *testing.T) {
	t.Parallel()
	for successors := range 4 {
		t.Run(fmt.Sprint(successors), func(t *testing.T) {
			t.Parallel()
			w, slow := newWaitingRotation(t, respondingVerifiers("10.0.0.1"))
			w.clock.SetTime(at(5 * time.Second))
			began := false
			w.fault = func(int) fault {
				if w.writes[len(w.writes)-1] == writeSecret && !began {
					began = true
					for range successors { // while the slow manager is about to write
						r := w.keys()
						r.propagation = newCredentialPropagation(w.cached(), w.clock, respondingVerifiers("10.0.0.1").verifiers())
						w.mustReconcile(r, "web")
					}
				}
				return faultNone
			}
			w.mustReconcile(slow, "web")
			material := credential.Material(w.secret("web").Data[keys.EntryCurrent])
			if !slices.ContainsFunc(w.key("web").Status.Credentials, func(c v1alpha1.Credential) bool { return c.SHA256 == material.SHA256() }) {
				t.Error("verifiers refuse what the Secret holds")
			}
			w.settle()
			w.expectSound("web")
		})
	}
}

func TestStagedCredentials_DroppedWithTheirKey(t *testing.T) {
	t.Parallel()
	w, r := newWaitingRotation(t, respondingVerifiers("10.0.0.1"))
	k := w.key("web")
	r.forgetHandler().Delete(t.Context(), event.DeleteEvent{Object: k}, nil)
	if len(r.staged.byKey)+len(r.propagation.waits) > 0 {
		t.Error("the credential of a deleted key is kept")
	}
	r.staged.put(k.UID, keystest.NewCredential("x"))
	recreated := k.DeepCopy()
	recreated.UID = "another"
	r.forgetHandler().Update(t.Context(), event.UpdateEvent{ObjectOld: k, ObjectNew: recreated}, nil)
	if len(r.staged.byKey) > 0 {
		t.Error("the credential of a replaced key is kept")
	}
}

func TestStagedCredentials_Limited(t *testing.T) {
	t.Parallel()
	var s stagedCredentials
	for i := range maxStagedCredentials + 10 {
		s.put(types.UID(fmt.Sprint(i)), credential.Credential{})
	}
	if _, newest := s.get(types.UID(fmt.Sprint(maxStagedCredentials + 9))); len(s.byKey) != maxStagedCredentials || !newest {
		t.Errorf("%d are kept, the newest: %t", len(s.byKey), newest)
	}
}
