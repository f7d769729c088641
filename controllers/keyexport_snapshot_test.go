// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// snapshot returns the snapshot of the KeyExport. A reconciliation that evaluates the keys replaces or drops it.
func (w *exportFixture) snapshot() *exportSnapshot {
	state := w.exports.states.byName[types.NamespacedName{Namespace: "gateway", Name: exportName}]
	if state == nil {
		return nil
	}
	return state.snapshot
}

func (w *exportFixture) setStatus(name string, change func(*v1alpha1.APIKeyStatus)) {
	w.t.Helper()
	k := w.key(name)
	change(&k.Status)
	w.must(w.client.Status().Update(w.t.Context(), k))
}

func (w *exportFixture) changeAccount(change func(*v1alpha1.Account)) {
	w.t.Helper()
	a := w.account("acme")
	change(a)
	a.Generation++
	w.must(w.client.Update(w.t.Context(), a))
}

// newSnapshotFixture returns a fixture with an export of key web, which is active, a key blog, which is inactive, and a snapshot.
func newSnapshotFixture(t *testing.T) *exportFixture {
	t.Helper()
	w := newExportFixture(t, newExport(exportName))
	w.add(keystest.Key("blog"))
	w.settleAll()
	w.change("blog", keystest.State(v1alpha1.KeyStateInactive))
	w.settleAll()
	w.mustExport()
	if w.snapshot() == nil || len(w.exported()) != 1 {
		t.Fatalf("there is no snapshot, or the export holds %q", w.exported())
	}
	return w
}

// TestKeyExport_KeepsSnapshot: changes of keys that do not matter to an export, and changes that matter to none, do not make it
// evaluate all keys.
func TestKeyExport_KeepsSnapshot(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]func(*exportFixture){
		"nothing": func(*exportFixture) {},
		"later":   func(w *exportFixture) { w.clock.SetTime(at(snapshotLifetime - time.Second)) },
		"inactive key changed": func(w *exportFixture) {
			w.change("blog", keystest.Label("other"))
			w.setStatus("blog", func(s *v1alpha1.APIKeyStatus) { s.Conditions = nil })
		},
		"activation without a status": func(w *exportFixture) { w.change("blog", keystest.State(v1alpha1.KeyStateActive)) },
		"key created":                 func(w *exportFixture) { w.add(keystest.Key("new")) },
		"status of the account": func(w *exportFixture) {
			a := w.account("acme")
			a.Status.Conditions = nil
			w.must(w.client.Status().Update(w.t.Context(), a))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSnapshotFixture(t)
			before := w.snapshot()
			cause(w)
			w.mustExport()
			if w.snapshot() != before {
				t.Error("all keys were evaluated again")
			}
			w.expectExported(w.digests("web")...)
		})
	}
}

// TestKeyExport_EndsSnapshot: whatever may change what an export holds makes it evaluate all keys.
func TestKeyExport_EndsSnapshot(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]func(*exportFixture){
		"lifetime":            func(w *exportFixture) { w.clock.SetTime(at(snapshotLifetime)) },
		"clock set back":      func(w *exportFixture) { w.clock.SetTime(at(-time.Second)) },
		"key":                 func(w *exportFixture) { w.change("web", keystest.Label("other")) },
		"status of a key":     func(w *exportFixture) { w.setStatus("web", func(s *v1alpha1.APIKeyStatus) { s.KeyID = "other" }) },
		"key deleted":         func(w *exportFixture) { w.must(w.client.Delete(w.t.Context(), w.key("web"))) },
		"other key deleted":   func(w *exportFixture) { w.must(w.client.Delete(w.t.Context(), w.key("blog"))) },
		"status of the other": func(w *exportFixture) { w.change("blog", keystest.State(v1alpha1.KeyStateActive)); w.settleKeys() },
		"other key copies a credential": func(w *exportFixture) {
			w.setStatus("blog", func(s *v1alpha1.APIKeyStatus) { s.Credentials = w.key("web").Status.Credentials })
		},
		"other key revoked a credential": func(w *exportFixture) {
			w.setStatus("blog", func(s *v1alpha1.APIKeyStatus) {
				c := w.key("web").Status.Credentials[0]
				s.RevokedCredentials = []v1alpha1.RevokedCredential{{SHA256: c.SHA256, IssuedAt: c.IssuedAt}}
			})
		},
		"account": func(w *exportFixture) {
			w.changeAccount(func(a *v1alpha1.Account) { a.Spec.ExportPolicy = v1alpha1.ExportForbid })
		},
		"label of the account": func(w *exportFixture) {
			a := w.account("acme")
			a.Labels = map[string]string{"tier": "gold"}
			w.must(w.client.Update(w.t.Context(), a))
		},
		"account created": func(w *exportFixture) { w.add(keystest.NewAccount("other")) },
		"account deleted": func(w *exportFixture) { w.must(w.client.Delete(w.t.Context(), w.account("acme"))) },
		"label of the namespace": func(w *exportFixture) {
			n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
			w.read(n)
			n.Labels = map[string]string{"team": "shop"}
			w.must(w.client.Update(w.t.Context(), n))
		},
		"spec": func(w *exportFixture) { w.changeExport(func(e *v1alpha1.KeyExport) { e.Spec.Scopes = []string{"a"} }) },
		"metadata": func(w *exportFixture) {
			w.changeExport(func(e *v1alpha1.KeyExport) { e.Spec.Target.Labels = map[string]string{"a": "b"} })
		},
		"status": func(w *exportFixture) {
			e := w.export(exportName)
			e.Status.Keys = nil
			w.must(w.client.Status().Update(w.t.Context(), e))
		},
		"object edited": func(w *exportFixture) {
			s := w.target("gateway-keys")
			s.Data["intruder"] = []byte("x")
			w.must(w.client.Update(w.t.Context(), s))
		},
		"object deleted": func(w *exportFixture) { w.must(w.client.Delete(w.t.Context(), w.target("gateway-keys"))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSnapshotFixture(t)
			before := w.snapshot()
			cause(w)
			w.mustExport()
			if w.snapshot() == before {
				t.Error("the keys were not evaluated again")
			}
		})
	}
}

// TestKeyExport_EndsSnapshotInTime: the passage of time that ends a credential ends the snapshot, too.
func TestKeyExport_EndsSnapshotInTime(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	w.change("web", keystest.Expiring(at(snapshotLifetime/2)))
	w.settleAll()
	w.mustExport()
	if w.snapshot() == nil {
		t.Fatal("there is no snapshot")
	}
	w.expectExported(w.digests("web")...)
	w.clock.SetTime(at(snapshotLifetime / 2))
	w.mustExport()
	w.expectExported()
}

// TestKeyExport_EndsSnapshotOfDuplicates: while keys share a credential, any change of a key may decide which of them it belongs to.
func TestKeyExport_EndsSnapshotOfDuplicates(t *testing.T) {
	t.Parallel()
	w := newSnapshotFixture(t)
	older := w.key("web").Status.Credentials
	older[0].IssuedAt = metav1.NewTime(at(-time.Hour))
	w.setStatus("blog", func(s *v1alpha1.APIKeyStatus) { s.Credentials = older })
	w.mustExport()
	w.expectExported()
	if w.mustExport(); w.snapshot() == nil {
		t.Fatal("there is no snapshot")
	}
	w.setStatus("blog", func(s *v1alpha1.APIKeyStatus) { s.Credentials = nil })
	w.mustExport()
	w.expectExported(w.digests("web")...)
}

// TestKeyExport_NoSnapshotIfUnfinished: a reconciliation that has to be repeated evaluates the keys again.
func TestKeyExport_NoSnapshotIfUnfinished(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]func(*exportFixture){
		"write failed": func(w *exportFixture) {
			w.fault = func(int) fault { return faultBefore }
			w.change("web", keystest.State(v1alpha1.KeyStateInactive))
		},
		"invalid spec": func(w *exportFixture) {
			w.changeExport(func(e *v1alpha1.KeyExport) { e.Spec.Entry = &v1alpha1.ExportEntry{Value: "{{"} })
		},
		"key not readable": func(w *exportFixture) {
			w.changeExport(exportingKeys)
			w.must(w.client.Delete(w.t.Context(), w.secret("web")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSnapshotFixture(t)
			cause(w)
			_, _ = w.reconcileExport(exportName)
			if w.snapshot() != nil {
				t.Error("there is a snapshot")
			}
		})
	}
}
