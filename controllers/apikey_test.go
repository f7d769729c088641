// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func TestReconcile_IssuesWithTwoWrites(t *testing.T) {
	t.Parallel()
	key := keystest.Key("web", keystest.Label("shop"))
	w := newFixture(t, keystest.NewAccount("acme"), key)
	if _, err := w.reconcileAccount("acme"); err != nil {
		t.Fatal(err)
	}
	w.writes = nil
	if _, err := w.reconcileKey("web"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"create Secret web", "update status of APIKey web"}, w.writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	if len(w.reads) > 0 {
		t.Errorf("read from the API server: %q", w.reads)
	}
	w.expectSound("web")
	want := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Labels: map[string]string{"app.kubernetes.io/managed-by": "apikey-manager", "apikey-manager.io/account": "acme"},
		},
		Type: corev1.SecretTypeOpaque,
	}
	got := w.secret("web")
	if diff := cmp.Diff(want.Labels, got.Labels); diff != "" || got.Type != want.Type || len(got.Data) != 1 {
		t.Errorf("Secret has labels, type %s and %d entries (-want +got):\n%s", got.Type, len(got.Data), diff)
	}
	if emitted := w.emittedEvents(); len(emitted) != 1 || !strings.HasPrefix(emitted[0], "Normal Issued ") {
		t.Errorf("events: %q", emitted)
	}
}

func TestReconcile_UnchangedKeyCausesNoRequests(t *testing.T) {
	t.Parallel()
	w := settled(keystest.NewAccount("acme", keystest.MaxKeys(3)), keystest.Key("web", keystest.Label("shop")), keystest.Key("off", keystest.State(v1alpha1.KeyStateInactive)),
		keystest.Key("gone", keystest.State(v1alpha1.KeyStateRevoked)), keystest.Key("waits", keystest.Created(at(time.Second))))(t)
	for range 3 {
		w.pass()
	}
	if len(w.writes)+len(w.reads) > 0 {
		t.Errorf("writes %q, reads from the API server %q", w.writes, w.reads)
	}
	if emitted := w.emittedEvents(); len(emitted) > 0 {
		t.Errorf("events: %q", emitted)
	}
}

func TestReconcile_EmitsEventsAfterStatusWrite(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web"))(t)
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	w.fault = func(int) fault { return faultBefore }
	if _, err := w.reconcileKey("web"); !errors.Is(err, errInjected) {
		t.Errorf("got %v, want the failure, for a retry", err)
	}
	if emitted := w.emittedEvents(); len(emitted) > 0 {
		t.Errorf("emitted %q before the status was written", emitted)
	}
	w.fault = func(int) fault { return faultNone }
	w.settle()
	if emitted := w.emittedEvents(); len(emitted) != 1 || !strings.HasPrefix(emitted[0], "Normal Deactivated ") {
		t.Errorf("events: %q", emitted)
	}
}

func TestReconcile_ReportsFailedStepInStatus(t *testing.T) {
	t.Parallel()
	w := newFixture(t, keystest.NewAccount("acme"), keystest.Key("web"))
	if _, err := w.reconcileAccount("acme"); err != nil {
		t.Fatal(err)
	}
	w.writes = nil
	w.fault = func(n int) fault {
		if n == 1 {
			return faultBefore
		}
		return faultNone
	}
	if _, err := w.reconcileKey("web"); !errors.Is(err, errInjected) {
		t.Errorf("got %v, want the failure, for a retry", err)
	}
	ready := meta.FindStatusCondition(w.key("web").Status.Conditions, v1alpha1.ConditionReady)
	want := "Could not create Secret web with a new Token: the API server did not respond"
	if ready == nil || ready.Reason != v1alpha1.ReasonWriteFailed || ready.Message != want {
		t.Errorf("Ready is %+v, want %s: %s", ready, v1alpha1.ReasonWriteFailed, want)
	}
	w.settle()
	w.expectSound("web")
}

func TestReconcile_NeverChangesForeignSecret(t *testing.T) {
	t.Parallel()
	yes := true
	for name, owners := range map[string][]metav1.OwnerReference{
		"without owner":         nil,
		"of a Deployment":       {{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: "other", Controller: &yes}},
		"of another key":        {{APIVersion: v1alpha1.GroupVersion.String(), Kind: "APIKey", Name: "other", UID: "other", Controller: &yes}},
		"owned, not controlled": {{APIVersion: v1alpha1.GroupVersion.String(), Kind: "APIKey", Name: "web", UID: "uid-web"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			foreign := &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", OwnerReferences: owners},
				Data:       map[string][]byte{keys.EntryCurrent: keystest.MaterialOf("theirs")},
			}
			w := newFixture(t, keystest.NewAccount("acme"), keystest.Key("web"), keystest.Key("fine"), foreign)
			w.settle()
			if got := w.secret("web"); !cmp.Equal(got, foreign) {
				t.Errorf("the Secret was touched: %s", cmp.Diff(foreign.ObjectMeta, got.ObjectMeta))
			}
			k := w.key("web")
			if c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionStalled); c == nil || c.Reason != v1alpha1.ReasonSecretConflict {
				t.Errorf("Stalled is %+v, want %s", c, v1alpha1.ReasonSecretConflict)
			}
			if len(k.Status.Credentials) > 0 {
				t.Errorf("the key adopted %+v", k.Status.Credentials)
			}
			w.expectSound("fine")
			result, err := w.reconcileKey("web")
			if err != nil || result.RequeueAfter != time.Minute {
				t.Errorf("requeue after %s, %v; want a minute: foreign Secrets are not watched", result.RequeueAfter, err)
			}
			w.must(w.client.Delete(t.Context(), w.secret("web")))
			w.settle()
			w.expectSound("web")
		})
	}
}

func TestReconcile_WaitsForDeletionOfOrphanedSecret(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web"))(t)
	w.must(w.client.Delete(t.Context(), w.key("web")))
	w.add(keystest.Key("web", keystest.UID("uid-again")))
	w.settle()
	k := w.key("web")
	if len(k.Status.Credentials) > 0 || w.secret("web") == nil || metav1.IsControlledBy(w.secret("web"), k) {
		t.Errorf("the orphaned Secret was adopted: %+v", k.Status)
	}
	w.must(w.client.Delete(t.Context(), w.secret("web")))
	w.settle()
	w.expectSound("web")
}

func TestReconcile_ReplacesUnrecordedCredential(t *testing.T) {
	t.Parallel()
	w := newFixture(t, keystest.NewAccount("acme"), keystest.Key("web"))
	w.fault = func(n int) fault { // the manager crashes after it wrote the Secret and before it writes the status
		if strings.HasPrefix(w.writes[n-1], "create Secret") {
			return faultCrash
		}
		return faultNone
	}
	if !w.settleOrCrash() {
		t.Fatal("no Secret was created")
	}
	w.fault = func(int) fault { return faultNone }
	left := string(w.secret("web").Data[keys.EntryCurrent])
	w.hidden = func(o client.Object, _ client.ObjectKey) bool {
		return o.GetObjectKind().GroupVersionKind().Kind == "Secret"
	}
	w.writes = nil
	if _, err := w.reconcileKey("web"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"create Secret web", "update status of APIKey web", "update Secret web", "update status of APIKey web"}, w.writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	w.expectSound("web")
	if string(w.secret("web").Data[keys.EntryCurrent]) == left {
		t.Error("the credential in the Secret was kept")
	}
}

func TestReconcile_StaleKeyChangesNothing(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web"))(t)
	stale := w.key("web")
	// A user empties the Secret, and another manager replaces the credential.
	s := w.secret("web")
	s.Data = nil
	w.must(w.client.Update(t.Context(), s))
	w.settle()
	w.expectSound("web")
	version := w.secret("web").ResourceVersion
	w.writes = nil
	result, err := w.keys().Reconcile(t.Context(), stale)
	if err != nil || result.RequeueAfter != staleRequeueAfter {
		t.Errorf("got %+v, %v; want a requeue after %s", result, err, staleRequeueAfter)
	}
	if len(w.writes) > 0 || w.secret("web").ResourceVersion != version {
		t.Errorf("wrote %q on stale facts", w.writes)
	}
	w.expectSound("web")
}

func TestReconcile_RetriesConflictWithoutEvents(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web"))(t)
	stale := w.key("web")
	stale.Spec.State = v1alpha1.KeyStateInactive
	w.change("web", keystest.Label("new"))
	result, err := w.keys().Reconcile(t.Context(), stale)
	if err != nil || result.RequeueAfter != staleRequeueAfter {
		t.Errorf("got %+v, %v; want a requeue after %s", result, err, staleRequeueAfter)
	}
	if emitted := w.emittedEvents(); len(emitted) > 0 {
		t.Errorf("events: %q", emitted)
	}
}

func TestReconcile_RetriesFailedSecretRead(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web"))(t)
	s := w.secret("web")
	s.Data[keys.EntryCurrent] = []byte("changed")
	w.must(w.client.Update(t.Context(), s))
	w.broken = errInjected
	if _, err := w.reconcileKey("web"); !errors.Is(err, errInjected) {
		t.Errorf("got %v, want the failure, for a retry", err)
	}
	if len(w.writes) > 0 {
		t.Errorf("wrote %q without reading the Secret", w.writes)
	}
	w.broken = nil
	w.settle()
	w.expectSound("web")
}

func TestReconcile_ReadsSecretOnlyAfterChange(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web"))(t)
	w.change("web", keystest.Label("new"))
	w.settle()
	if len(w.reads) > 0 {
		t.Errorf("read from the API server: %q", w.reads)
	}
	s := w.secret("web")
	s.Annotations = map[string]string{"mine": "stays"}
	w.must(w.client.Update(t.Context(), s))
	w.settle()
	if diff := cmp.Diff([]string{"*v1.Secret default/web"}, w.reads); diff != "" {
		t.Errorf("reads from the API server (-want +got):\n%s", diff)
	}
	w.expectSound("web")
	if w.secret("web").Annotations["mine"] != "stays" {
		t.Error("the annotation is gone")
	}
}

func TestReconcile_RequeuesAtNextDeadline(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web", keystest.Expiring(at(90*time.Second))))(t)
	w.clock.SetTime(at(30*time.Second + 400*time.Millisecond))
	result, err := w.reconcileKey("web")
	if want := 59600 * time.Millisecond; err != nil || result.RequeueAfter != want {
		t.Errorf("requeue after %s, %v; want exactly %s", result.RequeueAfter, err, want)
	}
	w.clock.SetTime(at(90*time.Second - time.Millisecond))
	if _, err := w.reconcileKey("web"); err != nil || w.key("web").Status.State != v1alpha1.StateActive {
		t.Errorf("a millisecond before the deadline the state is %s, %v", w.key("web").Status.State, err)
	}
	w.clock.SetTime(at(90 * time.Second))
	if _, err := w.reconcileKey("web"); err != nil || w.key("web").Status.State != v1alpha1.StateExpired {
		t.Errorf("at the deadline the state is %s, %v", w.key("web").Status.State, err)
	}
	if got := w.key("web").Status.History; len(got) != 2 || !got[1].Time.Time.Equal(at(90*time.Second)) {
		t.Errorf("history: %+v", got)
	}
}

func TestReconcile_ClearsSecretOfRevokedKey(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web"))(t)
	w.change("web", keystest.State(v1alpha1.KeyStateRevoked))
	w.settle()
	s := w.secret("web")
	if len(s.Data) > 0 || s.Annotations[keys.AnnotationRevoked] == "" || !metav1.IsControlledBy(s, w.key("web")) {
		t.Errorf("the Secret has entries %v", slices.Sorted(maps.Keys(s.Data)))
	}
	w.must(w.client.Delete(t.Context(), s))
	w.writes = nil
	w.settle()
	if w.secret("web") != nil {
		t.Error("a revoked key received a new Secret")
	}
}

// TestReconcile_ClearsRevokedSecretOfOlderVersion: the Secret had an entry with a constant text, and the status
// reports that the Secret is up to date.
func TestReconcile_ClearsRevokedSecretOfOlderVersion(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web"))(t)
	w.change("web", keystest.State(v1alpha1.KeyStateRevoked))
	w.settle()
	s := w.secret("web")
	s.Annotations, s.Data = nil, map[string][]byte{"revoked": []byte("This API key was revoked for good.\n")}
	w.must(w.client.Update(t.Context(), s))
	k := w.key("web")
	k.Status.SecretRef.ResourceVersion = s.ResourceVersion
	w.must(w.client.Status().Update(t.Context(), k))
	w.settle()
	if s := w.secret("web"); len(s.Data) > 0 || s.Annotations[keys.AnnotationRevoked] == "" {
		t.Errorf("the Secret has entries %v and annotations %v", slices.Sorted(maps.Keys(s.Data)), s.Annotations)
	}
}

func TestReconcile_RemovesStagedEntryOfOlderVersion(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web"))(t)
	s := w.secret("web")
	s.Data["next-api-key"] = keystest.MaterialOf("next")
	w.must(w.client.Update(t.Context(), s))
	w.settle()
	if s := w.secret("web"); len(s.Data) != 1 {
		t.Errorf("the Secret has entries %v", slices.Sorted(maps.Keys(s.Data)))
	}
	w.expectSound("web")
}

func TestReconcile_RemovesWhatTheTemplateNoLongerHas(t *testing.T) {
	t.Parallel()
	template := v1alpha1.SecretTemplate{
		Labels: map[string]string{"example.com/a": "1", "example.com/b": "1"}, Annotations: map[string]string{"example.com/a": "1"},
		Data: map[string]string{"key": "{{ .Key }}", "more": "x"},
	}
	w := settled(keystest.Key("web", keystest.Template(template)))(t)
	s := w.secret("web")
	key := string(s.Data["key"])
	s.Labels["mine"], s.Annotations["mine"] = "stays", "stays"
	w.must(w.client.Update(t.Context(), s))
	w.settle()
	w.change("web", keystest.Template(v1alpha1.SecretTemplate{Labels: map[string]string{"example.com/b": "2"}, Data: map[string]string{"key": "{{ .Key }}"}}))
	w.settle()
	s = w.secret("web")
	if diff := cmp.Diff(map[string]string{"example.com/b": "2", "mine": "stays", keys.LabelManagedBy: keys.ManagedBy, keys.LabelAccount: "acme"}, s.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if s.Annotations["mine"] != "stays" || s.Annotations["example.com/a"] != "" || len(s.Data) != 1 {
		t.Errorf("annotations %v, and %d entries", s.Annotations, len(s.Data))
	}
	w.change("web", func(k *v1alpha1.APIKey) { k.Spec.Secret = nil })
	w.settle()
	s = w.secret("web")
	if diff := cmp.Diff(map[string]string{"mine": "stays", keys.LabelManagedBy: keys.ManagedBy, keys.LabelAccount: "acme"}, s.Labels); diff != "" {
		t.Errorf("labels without a template (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"mine": "stays"}, s.Annotations); diff != "" {
		t.Errorf("annotations without a template (-want +got):\n%s", diff)
	}
	if len(s.Data) != 1 || string(s.Data[keys.EntryCurrent]) != key {
		t.Error("the Secret no longer holds the same key")
	}
}

func TestReconcile_FailedRandomSourceIssuesNoKey(t *testing.T) {
	t.Parallel()
	w := newFixture(t, keystest.NewAccount("acme"), keystest.Key("web"))
	if _, err := w.reconcileAccount("acme"); err != nil {
		t.Fatal(err)
	}
	r := w.keys()
	r.Random = strings.NewReader("too short")
	if _, err := r.Reconcile(t.Context(), w.key("web")); err == nil {
		t.Error("no error")
	}
	if w.secret("web") != nil {
		t.Error("a Secret was created although the random source failed")
	}
}

// TestReconcile_RefusesTemplateThatHidesItsKey: a template may distinguish the real key from the one that it is
// checked with. Nothing is written, a condition reports it, and the step is not retried.
func TestReconcile_RefusesTemplateThatHidesItsKey(t *testing.T) {
	t.Parallel()
	key := keystest.Key("web")
	account := keystest.NewAccount("acme")
	for n := 0; ; n++ { // search, as an attacker would, for a template that passes the check
		keystest.Data(map[string]string{"key": fmt.Sprintf(`{{/* %d */}}{{if eq (slice .KeyID 0 1) "%c"}}{{.Key}}{{end}}`, n, '0'+n%10)})(key)
		if keys.CheckPolicy(keys.Facts{Key: key, Account: account, Settings: keystest.Settings, Now: keystest.Epoch}) == nil {
			break
		}
	}
	w := newFixture(t, account, key)
	if _, err := w.reconcileAccount("acme"); err != nil {
		t.Fatal(err)
	}
	w.writes = nil
	for range 3 {
		if result, err := w.reconcileKey("web"); err != nil || result.RequeueAfter < time.Minute {
			t.Fatalf("requeue after %s: %v", result.RequeueAfter, err)
		}
	}
	if diff := cmp.Diff([]string{"update status of APIKey web"}, w.writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	got := w.key("web")
	for _, condition := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionAccepted, v1alpha1.ConditionStalled} {
		c := meta.FindStatusCondition(got.Status.Conditions, condition)
		if c == nil || c.Reason != v1alpha1.ReasonInvalidSpec || !strings.HasPrefix(c.Message, "spec.secret.template.data: ") {
			t.Errorf("%s is %+v", condition, c)
		}
	}
	if len(got.Status.Credentials) > 0 || w.secret("web") != nil {
		t.Error("the key has a credential, or a Secret")
	}
}

// adopted returns a Secret that is to be adopted by key web. It holds the material that belongs to a name.
func adopted(name string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Annotations: map[string]string{v1alpha1.AdoptAnnotation: "web"}},
		Data:       map[string][]byte{keys.EntryCurrent: keystest.MaterialOf(name), "extra": []byte("other data")},
	}
}

func TestReconcile_AdoptsAnnotatedSecret(t *testing.T) {
	t.Parallel()
	for how, f := range map[string]fault{"undisturbed": faultNone, "crash after the Secret is written": faultCrash} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t, keystest.NewAccount("acme", keystest.ImportAllowed()), keystest.Key("web"), adopted("imported"))
			if _, err := w.reconcileAccount("acme"); err != nil {
				t.Fatal(err)
			}
			w.writes = nil
			w.fault = func(n int) fault {
				if strings.HasPrefix(w.writes[n-1], "update Secret") {
					return f
				}
				return faultNone
			}
			if crashed := w.settleOrCrash(); crashed != (f == faultCrash) {
				t.Fatalf("crashed: %t", crashed)
			}
			w.fault = func(int) fault { return faultNone }
			w.settle()
			w.expectSound("web")
			s := w.secret("web")
			if string(s.Data[keys.EntryCurrent]) != string([]byte(keystest.MaterialOf("imported"))) || len(s.Data) != 1 {
				t.Errorf("the Secret has %v, or another key", slices.Sorted(maps.Keys(s.Data)))
			}
			if diff := cmp.Diff([]string{"update Secret web", "update status of APIKey web"}, w.writes[:2]); f == faultNone && diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			if emitted := w.emittedEvents(); len(emitted) != 1 || !strings.HasPrefix(emitted[0], "Normal Adopted ") {
				t.Errorf("events: %q", emitted)
			}
		})
	}
}

func TestReconcile_DoesNotAdoptDuplicate(t *testing.T) {
	t.Parallel()
	owner := keystest.Key("owner", keystest.Namespace("elsewhere"), keystest.Revoked("leaked", at(-time.Hour)))
	w := newFixture(t, keystest.NewAccount("acme", keystest.ImportAllowed()), keystest.Key("web"), owner, adopted("leaked"))
	if _, err := w.reconcileAccount("acme"); err != nil {
		t.Fatal(err)
	}
	w.hidden = func(o client.Object, _ client.ObjectKey) bool { // as in production, the cache contains only labelled Secrets
		return o.GetObjectKind().GroupVersionKind().Kind == "Secret"
	}
	result, err := w.reconcileKey("web")
	c := meta.FindStatusCondition(w.key("web").Status.Conditions, v1alpha1.ConditionStalled)
	if err != nil || c == nil || c.Reason != v1alpha1.ReasonDuplicateKey || strings.Contains(c.Message, "elsewhere") {
		t.Errorf("%v, Stalled %+v", err, c)
	}
	if result.RequeueAfter != time.Minute {
		t.Errorf("requeue after %s, want a minute: the Secret is not watched", result.RequeueAfter)
	}
	if metav1.IsControlledBy(w.secret("web"), w.key("web")) {
		t.Error("the Secret was adopted")
	}
}

func TestReconcile_BacksOffFromContestedSecret(t *testing.T) {
	t.Parallel()
	w := settled(keystest.Key("web"))(t)
	r := w.keys()
	round := func() {
		t.Helper()
		s := w.secret("web")
		s.Data["extra"] = []byte("mine")
		w.must(w.client.Update(t.Context(), s))
		if _, err := r.Reconcile(t.Context(), w.key("web")); err != nil {
			t.Fatal(err)
		}
		w.checkStatuses()
	}
	count := func(what string) (n int) {
		for _, write := range w.writes {
			if write == what {
				n++
			}
		}
		return n
	}
	for range 20 {
		round()
	}
	if n, m := count("update Secret web"), count("update status of APIKey web"); n != 3 || m != 4 {
		t.Errorf("the Secret was written %d times and the status %d times, want 3 and 4", n, m)
	}
	ready := meta.FindStatusCondition(w.key("web").Status.Conditions, v1alpha1.ConditionReady)
	if ready.Reason != v1alpha1.ReasonSecretContested {
		t.Errorf("Ready is %+v", ready)
	}
	r = w.keys() // a manager after a restart
	w.writes = nil
	round()
	if len(w.writes) > 0 {
		t.Errorf("after a restart: %q", w.writes)
	}
	w.clock.SetTime(at(time.Minute))
	round()
	if count("update Secret web") != 1 || len(w.writes) != 2 {
		t.Errorf("after a minute: %q", w.writes)
	}
}

func TestRepairs_DropsIdleEntries(t *testing.T) {
	t.Parallel()
	var r repairs
	for i := range 1000 {
		now := at(time.Duration(i) * time.Minute)
		k := keystest.Key(strings.Repeat("k", i+1))
		r.put(k, keys.Repairs{Times: []time.Time{now}, FoundChangeAt: now}, now)
	}
	if n := len(r.byKey); n > 4*minSweepSize*2 {
		t.Errorf("%d entries are kept, want 120", n)
	}
}
