// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// exportFixture holds a fixture with a KeyExport gateway/partners, and reconcilers that keep their state.
type exportFixture struct {
	*fixture
	exports *KeyExportReconciler
	apikeys *APIKeyReconciler
}

const exportName = "partners"

// newExport returns a KeyExport of digests into Secrets.
func newExport(name string, change ...func(*v1alpha1.KeyExport)) *v1alpha1.KeyExport {
	e := &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: "gateway", Name: name, Generation: 1}}
	e.Spec.Target = v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: "gateway-keys"}
	for _, c := range change {
		c(e)
	}
	return e
}

// exportingKeys makes an export hold the keys themselves.
func exportingKeys(e *v1alpha1.KeyExport) { e.Spec.Content = v1alpha1.ExportContentKey }

func exportingObjects(e *v1alpha1.KeyExport) { e.Spec.Layout = v1alpha1.ExportLayoutObjects }

// newExportFixture returns a fixture with account acme, which allows the export of keys, its key web, and a KeyExport.
func newExportFixture(t *testing.T, e *v1alpha1.KeyExport, objects ...client.Object) *exportFixture {
	t.Helper()
	w := newFixture(t, append([]client.Object{
		keystest.NewAccount("acme", keystest.Policy(func(s *v1alpha1.AccountSpec) { s.ExportPolicy = v1alpha1.ExportKey })),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, e,
	}, objects...)...)
	f := &exportFixture{fixture: w}
	f.restart()
	f.add(keystest.Key("web"))
	f.settleAll()
	f.writes, f.reads = nil, nil
	return f
}

// restart starts another manager, which knows nothing.
func (w *exportFixture) restart() {
	w.apikeys = w.keys()
	w.apikeys.exports = &exportLookup{Reader: w.client, settings: keystest.Settings}
	w.exports = &KeyExportReconciler{
		Client: w.cached(), APIReader: w.live(), AllObjects: &allObjects{reader: w.cached()}, Objects: w.cached(), Clock: w.clock, Settings: keystest.Settings,
		Events: EventEmitter{Recorder: w.events},
		staged: &w.apikeys.staged, ConfigMapNamespaces: []string{"gateway"},
	}
}

// reconcileExport runs one reconciliation of a KeyExport.
func (w *exportFixture) reconcileExport(name string) (time.Duration, error) {
	w.t.Helper()
	result, err := reconcile.AsReconciler(w.exports.Client, w.exports).Reconcile(w.t.Context(),
		reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "gateway", Name: name}})
	w.checkExports()
	return result.RequeueAfter, err
}

func (w *exportFixture) mustExport() time.Duration {
	w.t.Helper()
	after, err := w.reconcileExport(exportName)
	w.must(err)
	return after
}

// settleAll reconciles keys, accounts and KeyExports until nothing is written any more.
func (w *exportFixture) settleAll() {
	w.t.Helper()
	const most = 50
	for range most {
		before := len(w.writes)
		var all v1alpha1.APIKeyList
		w.must(w.client.List(w.t.Context(), &all))
		for i := range all.Items {
			_, _ = w.reconcileKeyWith(w.apikeys, all.Items[i].Name)
		}
		_, _ = w.reconcileAccount("acme")
		failed := w.passExports()
		if len(w.writes) == before && !failed {
			return
		}
	}
	w.t.Fatalf("the writes do not end; the last ones were %q", w.writes[max(0, len(w.writes)-10):])
}

func (w *exportFixture) passExports() (failed bool) {
	w.t.Helper()
	var exports v1alpha1.KeyExportList
	w.must(w.client.List(w.t.Context(), &exports))
	for i := range exports.Items {
		_, err := w.reconcileExport(exports.Items[i].Name)
		failed = failed || err != nil
	}
	return failed
}

// checkExports checks the statuses of all KeyExports as checkStatuses does.
func (w *exportFixture) checkExports() {
	w.t.Helper()
	var all v1alpha1.KeyExportList
	w.must(w.client.List(w.t.Context(), &all))
	for _, e := range all.Items {
		for _, c := range e.Status.Conditions {
			w.checkMessage("export "+e.Name+": "+c.Type, c.Reason, c.Message)
		}
		w.checkNoMaterial("export "+e.Name, fmt.Sprintf("%+v", e))
	}
}

func (w *exportFixture) export(name string) *v1alpha1.KeyExport {
	w.t.Helper()
	e := &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: "gateway", Name: name}}
	w.read(e)
	return e
}

func (w *exportFixture) changeExport(change func(*v1alpha1.KeyExport)) {
	w.t.Helper()
	e := w.export(exportName)
	change(e)
	e.Generation++
	w.must(w.client.Update(w.t.Context(), e))
}

// target returns an object of the export, or nil.
func (w *exportFixture) target(name string) *corev1.Secret {
	w.t.Helper()
	s := &corev1.Secret{}
	err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: "gateway", Name: name}, s)
	if apierrors.IsNotFound(err) {
		return nil
	}
	w.must(err)
	return s
}

// exported returns the values of all objects that a KeyExport owns, sorted.
func (w *exportFixture) exported() []string {
	w.t.Helper()
	var list corev1.SecretList
	w.must(w.client.List(w.t.Context(), &list, client.InNamespace("gateway")))
	values := []string{}
	for i := range list.Items {
		if metav1.GetControllerOf(&list.Items[i]) != nil {
			for _, v := range list.Items[i].Data {
				values = append(values, string(v))
			}
		}
	}
	slices.Sort(values)
	return values
}

// digests returns the digests of a key's credentials as an export holds them, sorted.
func (w *exportFixture) digests(name string) []string {
	w.t.Helper()
	list := []string{}
	for _, c := range w.key(name).Status.Credentials {
		list = append(list, "sha256:"+c.SHA256)
	}
	slices.Sort(list)
	return list
}

func (w *exportFixture) expectExported(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), w.exported()); diff != "" {
		w.t.Errorf("the objects of the export hold (-want +got):\n%s", diff)
	}
}

// expectReady checks the reason of the condition Ready.
func (w *exportFixture) expectReady(name, reason string) {
	w.t.Helper()
	c := meta.FindStatusCondition(w.export(name).Status.Conditions, v1alpha1.ConditionReady)
	if c == nil || c.Reason != reason {
		w.t.Errorf("Ready of KeyExport %s is %+v, want reason %s", name, c, reason)
	}
}

func TestKeyExport_HoldsAcceptedCredentials(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	w.expectExported(w.digests("web")...)
	w.expectReady(exportName, v1alpha1.ReasonExported)
	s := w.target("gateway-keys")
	if !metav1.IsControlledBy(s, w.export(exportName)) || s.Labels[keys.LabelManagedBy] != keys.ManagedBy || s.Type != corev1.SecretTypeOpaque {
		t.Errorf("the Secret is %+v", s.ObjectMeta)
	}
	if e := w.export(exportName); *e.Status.Keys != 1 || *e.Status.Credentials != 1 || *e.Status.ObjectCount != 1 {
		t.Errorf("the status is %+v", e.Status)
	}
}

// TestKeyExport_Withdraws: each cause takes the credential out in one reconciliation of the export, before the status of the key
// shows it.
func TestKeyExport_Withdraws(t *testing.T) {
	t.Parallel()
	account := func(change func(*v1alpha1.AccountSpec)) func(*exportFixture) {
		return func(w *exportFixture) {
			a := w.account("acme")
			change(&a.Spec)
			a.Generation++
			w.must(w.client.Update(w.t.Context(), a))
		}
	}
	key := func(change func(*v1alpha1.APIKey)) func(*exportFixture) {
		return func(w *exportFixture) { w.change("web", change) }
	}
	for name, tc := range map[string]struct {
		cause    func(*exportFixture)
		withheld string
		digest   bool // the cause concerns content Key only
	}{
		"inactive": {cause: key(keystest.State(v1alpha1.KeyStateInactive))},
		"revoked":  {cause: key(keystest.State(v1alpha1.KeyStateRevoked))},
		"expired":  {cause: key(keystest.Expiring(keystest.Epoch.Add(-time.Hour)))},
		"revoked before": {cause: func(w *exportFixture) {
			w.change("web", keystest.RevokedBefore(keystest.Epoch.Add(time.Second)))
			w.clock.SetTime(at(2 * time.Second))
		}},
		"address-restricted": {cause: key(keystest.Whitelist("10.0.0.0/8")), withheld: v1alpha1.ReasonAddressRestricted},
		"suspended":          {cause: account(func(s *v1alpha1.AccountSpec) { s.State = v1alpha1.AccountSuspended })},
		"policy Forbid": {
			cause: account(func(s *v1alpha1.AccountSpec) { s.ExportPolicy = v1alpha1.ExportForbid }), withheld: v1alpha1.ReasonExportNotAllowed,
		},
		"policy Digest": {
			cause: account(func(s *v1alpha1.AccountSpec) { s.ExportPolicy = v1alpha1.ExportDigest }), withheld: v1alpha1.ReasonExportNotAllowed, digest: true,
		},
		"namespace not allowed": {cause: account(func(s *v1alpha1.AccountSpec) {
			s.AllowedNamespaces = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "other"}}
		})},
		"out of the selector": {cause: func(w *exportFixture) {
			w.changeExport(func(e *v1alpha1.KeyExport) { e.Spec.Accounts = []string{"other"} })
		}},
		"deleted":         {cause: func(w *exportFixture) { w.must(w.client.Delete(w.t.Context(), w.key("web"))) }},
		"account deleted": {cause: func(w *exportFixture) { w.must(w.client.Delete(w.t.Context(), w.account("acme"))) }},
		"deleted while no manager ran": {cause: func(w *exportFixture) {
			w.must(w.client.Delete(w.t.Context(), w.key("web")))
			w.restart()
		}},
		"inactive while no manager ran": {cause: func(w *exportFixture) {
			w.change("web", keystest.State(v1alpha1.KeyStateInactive))
			w.restart()
		}},
	} {
		for kind, change := range map[string][]func(*v1alpha1.KeyExport){
			"Digest": nil, "Key": {exportingKeys}, "Objects": {exportingKeys, exportingObjects},
		} {
			if tc.digest && kind == "Digest" {
				continue
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				w := newExportFixture(t, newExport(exportName, change...))
				if n := len(w.exported()); n != 1 {
					t.Fatalf("the export holds %d credentials", n)
				}
				tc.cause(w)
				w.mustExport()
				w.expectExported()
				if kind != "Objects" && w.target("gateway-keys") == nil {
					t.Error("the first object does not exist")
				}
				var got string
				for _, k := range w.export(exportName).Status.Withheld {
					got = k.Reason
				}
				if got != tc.withheld {
					t.Errorf("the key is withheld as %q, want %q", got, tc.withheld)
				}
			})
		}
	}
}

// TestKeyExport_ExpiresToTheInstant: the export is reconciled at the instant of an expiration, and withdraws the credential then.
func TestKeyExport_ExpiresToTheInstant(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	w.change("web", keystest.Expiring(keystest.Epoch.Add(time.Minute)))
	w.settleAll()
	w.expectExported(w.digests("web")...)
	if after := w.mustExport(); after != time.Minute {
		t.Errorf("the export is reconciled after %s", after)
	}
	w.clock.SetTime(at(time.Minute))
	w.mustExport()
	w.expectExported()
}

// TestKeyExport_SteadyStateCostsNothing: without a change no request is made, and the use of a key is not a change.
func TestKeyExport_SteadyStateCostsNothing(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]*v1alpha1.KeyExport{
		"Digest": newExport(exportName), "Key": newExport(exportName, exportingKeys), "Objects": newExport(exportName, exportingKeys, exportingObjects),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newExportFixture(t, e)
			w.mustExport()
			k := w.key("web")
			now := metav1.NewTime(at(time.Minute))
			k.Status.LastUsedTime, k.Status.Credentials[0].LastUsedTime = &now, &now
			w.must(w.client.Status().Update(t.Context(), k))
			w.mustExport()
			if len(w.writes)+len(w.reads) > 0 {
				t.Errorf("the writes are %q, the reads %q", w.writes, w.reads)
			}
		})
	}
}

// TestKeyExport_RotationExportsFirst: the next credential is in the export before it is in the Secret of the key, and the previous
// one leaves at the end of the overlap.
func TestKeyExport_RotationExportsFirst(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]*v1alpha1.KeyExport{
		"Digest": newExport(exportName), "Key": newExport(exportName, exportingKeys), "Objects": newExport(exportName, exportingKeys, exportingObjects),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newExportFixture(t, e)
			w.requestRotation()
			w.mustReconcile(w.apikeys, "web")
			w.expectWrites(writeStatus)
			w.mustReconcile(w.apikeys, "web")
			w.expectWrites()
			w.mustExport()
			if n := len(w.exported()); n != 2 {
				t.Fatalf("the export holds %d credentials while the next one is staged", n)
			}
			staged := w.exported()
			w.writes, w.reads = nil, nil
			w.clock.SetTime(at(5*time.Second - 1))
			w.mustReconcile(w.apikeys, "web")
			w.expectWrites() // the gateway may not have read the export yet
			w.clock.SetTime(at(5 * time.Second))
			w.mustReconcile(w.apikeys, "web")
			w.expectWrites(writeSecret, writeStatus)
			w.mustExport()
			w.expectExported(staged...)
			if s := w.secret("web"); e.Spec.Content == v1alpha1.ExportContentKey && !slices.Contains(staged, string(s.Data["api-key"])) {
				t.Error("the export held another credential than the Secret")
			}
			if slices.ContainsFunc(w.reads, func(r string) bool { return strings.Contains(r, "gateway") }) {
				t.Errorf("objects were read: %q", w.reads)
			}
			w.clock.SetTime(at(2 * time.Hour))
			w.mustExport()
			if n := len(w.exported()); n != 1 {
				t.Errorf("the export holds %d credentials after the overlap", n)
			}
		})
	}
}

// TestKeyExport_RotationDoesNotWaitForever: a rotation goes on without an export that cannot be written.
func TestKeyExport_RotationDoesNotWaitForever(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	w.requestRotation()
	w.mustReconcile(w.apikeys, "web")
	w.writes = nil
	w.clock.SetTime(at(5 * time.Second))
	w.mustReconcile(w.apikeys, "web")
	w.expectWrites(writeSecret, writeStatus)
}

// TestKeyExport_TargetConflict: an object that the export does not own is not touched, and the export recovers once it is gone.
func TestKeyExport_TargetConflict(t *testing.T) {
	t.Parallel()
	for name, foreign := range map[string]*corev1.Secret{
		"unowned": {}, "labelled": {ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{keys.LabelManagedBy: keys.ManagedBy}}},
		"of another export": {ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{
			exportReference(&v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Name: exportName, UID: "another"}}),
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			foreign.Namespace, foreign.Name, foreign.Data = "gateway", "gateway-keys", map[string][]byte{"mine": []byte("value")}
			w := newExportFixture(t, newExport(exportName), foreign)
			w.expectReady(exportName, v1alpha1.ReasonTargetConflict)
			if got := w.target("gateway-keys"); !maps.EqualFunc(got.Data, foreign.Data, slices.Equal) || len(got.OwnerReferences) != len(foreign.OwnerReferences) {
				t.Errorf("the Secret was changed: %+v", got)
			}
			w.mustExport()
			if len(w.writes) > 0 {
				t.Errorf("the writes are %q", w.writes)
			}
			w.must(w.client.Delete(t.Context(), w.target("gateway-keys")))
			w.clock.SetTime(at(exportRecheckInterval))
			w.mustExport()
			w.expectExported(w.digests("web")...)
			w.expectReady(exportName, v1alpha1.ReasonExported)
		})
	}
}

// TestKeyExport_TwoExportsWithOneTarget: the younger one writes nothing, in whatever order they are reconciled.
func TestKeyExport_TwoExportsWithOneTarget(t *testing.T) {
	t.Parallel()
	younger := newExport("a-younger", func(e *v1alpha1.KeyExport) {
		e.CreationTimestamp, e.Spec.Entry = metav1.NewTime(at(time.Hour)), &v1alpha1.ExportEntry{Value: "younger {{ .Digest }}"}
	})
	w := newExportFixture(t, newExport(exportName, func(e *v1alpha1.KeyExport) { e.CreationTimestamp = metav1.NewTime(at(0)) }), younger)
	w.expectReady("a-younger", v1alpha1.ReasonTargetConflict)
	w.expectReady(exportName, v1alpha1.ReasonExported)
	w.expectExported(w.digests("web")...)
	w.must(w.client.Delete(t.Context(), w.export(exportName)))
	w.must(w.client.Delete(t.Context(), w.target("gateway-keys")))
	w.settleAll()
	w.expectReady("a-younger", v1alpha1.ReasonExported)
	w.expectExported("younger " + w.digests("web")[0])
}

func TestKeyExport_TargetImmutable(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	s := w.target("gateway-keys")
	yes := true
	s.Immutable = &yes
	w.must(w.client.Update(t.Context(), s))
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	if after := w.mustExport(); after > lateWithdrawalRecheckInterval {
		t.Errorf("a late withdrawal is tried again after %s", after)
	}
	w.expectReady(exportName, v1alpha1.ReasonTargetImmutable)
	w.must(w.client.Delete(t.Context(), w.target("gateway-keys")))
	w.mustExport()
	w.expectExported()
	w.expectReady(exportName, v1alpha1.ReasonExported)
}

func TestKeyExport_ConfigMapsNotAllowed(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName, func(e *v1alpha1.KeyExport) { e.Spec.Target.Kind = v1alpha1.ExportToConfigMap }))
	get := func() map[string]string {
		m := &corev1.ConfigMap{}
		if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: "gateway", Name: "gateway-keys"}, m); err != nil {
			return nil
		}
		return m.Data
	}
	if got := slices.Collect(maps.Values(get())); !slices.Equal(got, w.digests("web")) {
		t.Errorf("the ConfigMap holds %q", got)
	}
	w.restart()
	w.exports.ConfigMapNamespaces = []string{"other"}
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	w.mustExport()
	w.expectReady(exportName, v1alpha1.ReasonConfigMapsNotAllowed)
	if len(get()) != 1 {
		t.Error("the ConfigMap was written")
	}
}

// TestKeyExport_RestoresObjects: what another client does to an object is undone.
func TestKeyExport_RestoresObjects(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*exportFixture, *corev1.Secret){
		"adds an entry":      func(_ *exportFixture, s *corev1.Secret) { s.Data["mine"] = []byte("sha256:" + strings.Repeat("0", 64)) },
		"removes an entry":   func(_ *exportFixture, s *corev1.Secret) { s.Data = nil },
		"changes an entry":   func(_ *exportFixture, s *corev1.Secret) { s.Data[slices.Collect(maps.Keys(s.Data))[0]] = []byte("x") },
		"removes the labels": func(_ *exportFixture, s *corev1.Secret) { s.Labels = nil },
		"deletes it":         func(w *exportFixture, s *corev1.Secret) { w.must(w.client.Delete(w.t.Context(), s)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newExportFixture(t, newExport(exportName))
			s := w.target("gateway-keys")
			if edit(w, s); name != "deletes it" {
				w.must(w.client.Update(t.Context(), s))
			}
			w.mustExport()
			w.expectExported(w.digests("web")...)
			if w.target("gateway-keys").Labels[keys.LabelManagedBy] != keys.ManagedBy {
				t.Error("the label is missing")
			}
		})
	}
}

// TestKeyExport_KeepsForeignMetadata: labels of other clients stay, and so do their finalizers.
func TestKeyExport_KeepsForeignMetadata(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	s := w.target("gateway-keys")
	s.Labels["example.com/team"], s.Finalizers = "a", []string{"example.com/f"}
	w.must(w.client.Update(t.Context(), s))
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	w.mustExport()
	if s = w.target("gateway-keys"); s.Labels["example.com/team"] != "a" || len(s.Finalizers) != 1 || len(s.Data) > 0 {
		t.Errorf("the Secret is %+v", s)
	}
}

// TestKeyExport_FinalizerKeepsNoCredential: an object that a finalizer keeps holds no withdrawn credential.
func TestKeyExport_FinalizerKeepsNoCredential(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName, exportingKeys, exportingObjects))
	var list corev1.SecretList
	w.must(w.client.List(t.Context(), &list, client.InNamespace("gateway")))
	list.Items[0].Finalizers = []string{"example.com/f"}
	w.must(w.client.Update(t.Context(), &list.Items[0]))
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	w.mustExport()
	w.expectExported()
	w.writes = nil
	w.mustExport()
	w.expectWrites()
}

// TestKeyExport_StaleCopyIsNotWritten: a write that is based on an earlier version of an object fails, and is tried again on the
// current one.
func TestKeyExport_StaleCopyIsNotWritten(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	before := w.exports.states.byName[types.NamespacedName{Namespace: "gateway", Name: exportName}].objects["gateway-keys"]
	stale := *before
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	w.mustExport()
	w.exports.states.byName[types.NamespacedName{Namespace: "gateway", Name: exportName}].objects["gateway-keys"] = &stale
	w.mustExport()
	w.expectExported()
}

// TestKeyExport_CacheLacksOwnStatus: a reconciliation from a cache that does not contain the status that the last one wrote makes
// no write that fails.
func TestKeyExport_CacheLacksOwnStatus(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	cached := w.export(exportName)
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	for range 2 {
		result, err := w.exports.Reconcile(t.Context(), cached.DeepCopy())
		w.must(err)
		if result.RequeueAfter == staleRequeueAfter {
			t.Error("the facts were stale")
		}
	}
	if len(w.writes) != 2 { // the object and the status
		t.Errorf("the writes are %q", w.writes)
	}
}

// TestKeyExport_FailedWrites: after a write that failed, or whose response was lost, the next reconciliation withdraws.
func TestKeyExport_FailedWrites(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault{"before": faultBefore, "after": faultAfter} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newExportFixture(t, newExport(exportName))
			w.change("web", keystest.State(v1alpha1.KeyStateInactive))
			w.fault = func(n int) fault {
				if n == 1 {
					return f
				}
				return faultNone
			}
			if _, err := w.reconcileExport(exportName); err == nil {
				t.Fatal("the error was not returned")
			}
			w.expectReady(exportName, v1alpha1.ReasonWriteFailed)
			w.mustExport()
			w.expectExported()
			w.expectReady(exportName, v1alpha1.ReasonExported)
		})
	}
}

// TestKeyExport_KeyNotReadable: a key whose Secret is lost keeps what the export holds of it, and a new export withholds it.
func TestKeyExport_KeyNotReadable(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName, exportingKeys))
	held := w.exported()
	w.must(w.client.Delete(t.Context(), w.secret("web")))
	w.restart()
	w.mustExport()
	w.expectExported(held...)
	w.must(w.client.Delete(t.Context(), w.target("gateway-keys")))
	w.restart()
	w.mustExport()
	w.expectExported()
	if list := w.export(exportName).Status.Withheld; len(list) != 1 || list[0].Reason != v1alpha1.ReasonKeyNotReadable {
		t.Errorf("withheld are %+v", list)
	}
}

// TestKeyExport_ReadsSecretsOnce: a new export reads the Secret of a key once, and a restart does not read it.
func TestKeyExport_ReadsSecretsOnce(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName, exportingKeys))
	w.restart()
	w.mustExport()
	if want := []string{"*v1.Secret gateway/gateway-keys"}; !slices.Equal(w.reads, want) {
		t.Errorf("the reads are %q, want %q", w.reads, want)
	}
	if len(w.writes) > 0 {
		t.Errorf("the writes are %q", w.writes)
	}
}

// TestKeyExport_InvalidSpecStillWithdraws: a spec that cannot be carried out adds nothing, and what is not accepted leaves.
func TestKeyExport_InvalidSpecStillWithdraws(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	w.changeExport(func(e *v1alpha1.KeyExport) { e.Spec.Entry = &v1alpha1.ExportEntry{Value: "{{ .Digest"} })
	held := w.exported()
	w.mustExport()
	w.expectExported(held...)
	w.expectReady(exportName, v1alpha1.ReasonInvalidSpec)
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	w.mustExport()
	w.expectExported()
}

// TestKeyExport_DeletedIsNotWritten: the garbage collector removes the objects of an export that is being deleted.
func TestKeyExport_DeletedIsNotWritten(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName, func(e *v1alpha1.KeyExport) { e.Finalizers = []string{"foregroundDeletion"} }))
	w.must(w.client.Delete(t.Context(), w.export(exportName)))
	w.must(w.client.Delete(t.Context(), w.target("gateway-keys")))
	w.mustExport()
	w.expectWrites("update status of KeyExport " + exportName)
}

// TestKeyExport_DeletedStillWithdraws: a finalizer can keep an export that is being deleted, and with it the objects.
func TestKeyExport_DeletedStillWithdraws(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName, func(e *v1alpha1.KeyExport) { e.Finalizers = []string{"example.com/keep"} }))
	w.must(w.client.Delete(t.Context(), w.export(exportName)))
	held := w.exported()
	w.add(keystest.Key("later"))
	w.settleAll()
	w.expectExported(held...)
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	w.mustExport()
	w.expectExported()
}

// TestKeyExport_ReservedLabel: a label in a domain that a flag reserves is not written, also if the webhook did not run.
func TestKeyExport_ReservedLabel(t *testing.T) {
	t.Parallel()
	const reserved = "argocd.argoproj.io/secret-type"
	w := newExportFixture(t, newExport(exportName))
	w.exports.Settings.ReservedDomains = []string{"argocd.argoproj.io"}
	w.changeExport(func(e *v1alpha1.KeyExport) { e.Spec.Target.Labels = map[string]string{reserved: "cluster"} })
	w.mustExport()
	w.expectReady(exportName, v1alpha1.ReasonInvalidSpec)
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	w.mustExport()
	w.expectExported()
	if labels := w.target("gateway-keys").GetLabels(); labels[reserved] != "" {
		t.Errorf("the object has the labels %v", labels)
	}
}

// TestKeyExport_LimitsAdditions: many additions do not cause as many versions of a large object, and never delay a withdrawal.
func TestKeyExport_LimitsAdditions(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	w.exports.states.byName[types.NamespacedName{Namespace: "gateway", Name: exportName}].additions = writeLimit{
		used: maxAdditions, since: w.clock.Now(),
	}
	first := w.digests("web")
	w.add(keystest.Key("other"))
	w.mustReconcile(w.apikeys, "other")
	_, _ = w.reconcileAccount("acme")
	w.mustReconcile(w.apikeys, "other")
	w.expectExported(first...)
	if after := w.mustExport(); after > writeInterval {
		t.Errorf("the addition follows after %s", after)
	}
	w.expectExported(first...)
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	w.mustExport()
	w.expectExported()
	w.clock.SetTime(at(writeInterval))
	w.mustExport()
	w.expectExported(w.digests("other")...)
}
