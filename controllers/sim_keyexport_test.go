// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// acceptedByVerifier returns the digests that a verifier accepts now, except those of keys with a whitelist and of accounts that forbid
// exports, and the digests whose material the test knows.
func (w *exportFixture) acceptedByVerifier() (accepted []string, known map[string]bool) {
	w.t.Helper()
	x := verifier.NewIndex()
	var all v1alpha1.APIKeyList
	var accounts v1alpha1.AccountList
	w.must(w.client.List(w.t.Context(), &all))
	w.must(w.client.List(w.t.Context(), &accounts))
	materials := map[string]credential.Material{}
	var entries []verifier.Entry
	for i := range all.Items {
		k := &all.Items[i]
		entries = append(entries, verifier.NewEntry(k))
		if issued, ok := w.apikeys.staged.get(k.UID); ok {
			w.issued = append(w.issued, issued.Material)
		}
	}
	for _, m := range w.issued {
		materials[m.SHA256()] = m
	}
	var list []*v1alpha1.Account
	for i := range accounts.Items {
		list = append(list, &accounts.Items[i])
	}
	x.ReplaceKeys(entries)
	x.ReplaceAccounts(list)
	x.ReplaceNamespaces(map[string]labels.Set{"default": w.namespace("default").Labels})
	x.SetComplete()
	known = map[string]bool{}
	for _, k := range all.Items {
		for _, c := range k.Status.Credentials {
			material := materials[c.SHA256]
			if material == nil {
				continue
			}
			known["sha256:"+c.SHA256] = true
			in := verifier.Input{Key: string([]byte(material)), ExtractResult: verifier.Valid, Client: netip.MustParseAddr("10.0.0.1")}
			v := x.Check(&in, w.clock.Now())
			if v.Code == verifier.Valid && v.Key().UID == string(k.UID) && len(k.Spec.IPWhitelist) == 0 &&
				w.account("acme").Spec.ExportPolicy != v1alpha1.ExportForbid {
				accepted = append(accepted, "sha256:"+c.SHA256)
			}
		}
	}
	slices.Sort(accepted)
	return accepted, known
}

func (w *exportFixture) namespace(name string) *corev1.Namespace {
	w.t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	w.read(n)
	return n
}

// TestKeyExport_EqualsVerifier draws histories of three keys, their account and their namespace. Whenever the controller has run once,
// also after a restart, after a write that failed, or after the clock was set back, the export holds exactly what a verifier accepts
// from any address. Often the controller also runs without any change, so that it remembers what its last result was based on.
func TestKeyExport_EqualsVerifier(t *testing.T) {
	t.Parallel()
	held, empty, skipped, evaluated := 0, 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		w := newExportFixture(t, newExport(exportName))
		now := w.clock.Now()
		names := []string{"web", "blog", "copy"}
		exists := func(name string) bool {
			var all v1alpha1.APIKeyList
			w.must(w.client.List(t.Context(), &all))
			return slices.ContainsFunc(all.Items, func(k v1alpha1.APIKey) bool { return k.Name == name })
		}
		change := func(o ...keystest.KeyOption) func(string) {
			return func(name string) {
				for _, option := range o {
					w.change(name, option)
				}
			}
		}
		policy := func(change func(*v1alpha1.AccountSpec)) func(string) {
			return func(string) { w.changeAccount(func(a *v1alpha1.Account) { change(&a.Spec) }) }
		}
		team := func(labels map[string]string) func(string) {
			return func(string) {
				n := w.namespace("default")
				n.Labels = labels
				w.must(w.client.Update(w.t.Context(), n))
			}
		}
		actions := map[string]func(string){
			"activate":   change(keystest.State(v1alpha1.KeyStateActive)),
			"deactivate": change(keystest.State(v1alpha1.KeyStateInactive)),
			"restrict":   change(keystest.Whitelist("10.0.0.0/8")),
			"unrestrict": change(keystest.Whitelist()),
			"expire": func(name string) {
				w.change(name, keystest.Expiring(now.Add(time.Duration(rapid.IntRange(-5, 60).Draw(rt, "seconds"))*time.Second)))
			},
			"keep": change(keystest.Expiration("")),
			"rotate": func(name string) {
				w.change(name, func(k *v1alpha1.APIKey) {
					keystest.Rotation("", "30s")(k)
					keystest.Requested(now)(k)
				})
			},
			"revoke before": func(name string) { w.change(name, keystest.RevokedBefore(now)) },
			"delete":        func(name string) { w.must(w.client.Delete(t.Context(), w.key(name))) },
			"suspend":       func(string) { w.setAccountState(v1alpha1.AccountSuspended) },
			"resume":        func(string) { w.setAccountState(v1alpha1.AccountActive) },
			"forbid":        policy(func(s *v1alpha1.AccountSpec) { s.ExportPolicy = v1alpha1.ExportForbid }),
			"permit":        policy(func(s *v1alpha1.AccountSpec) { s.ExportPolicy = v1alpha1.ExportDigest }),
			"allow a team": policy(func(s *v1alpha1.AccountSpec) {
				s.AllowedNamespaces = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}}
			}),
			"allow all": policy(func(s *v1alpha1.AccountSpec) { s.AllowedNamespaces = nil }),
			"join":      team(map[string]string{"team": "shop"}),
			"leave":     team(nil),
			"copy credentials": func(name string) {
				if name == "copy" && exists("web") {
					w.setStatus(name, func(s *v1alpha1.APIKeyStatus) { s.Credentials = w.key("web").Status.Credentials })
				}
			},
			"use": func(name string) {
				w.setStatus(name, func(s *v1alpha1.APIKeyStatus) { s.LastUsedTime = &metav1.Time{Time: now} })
			},
			"delete the Secret": func(name string) {
				if s := w.secret(name); s != nil {
					w.must(w.client.Delete(w.t.Context(), s))
				}
			},
			"export": func(string) { w.mustExport() },
			"set the clock back": func(string) {
				now = now.Add(-time.Duration(rapid.IntRange(1, 40).Draw(rt, "back")) * time.Second)
				w.clock.SetTime(now)
			},
			"restart":   func(string) { w.restart() },
			"reconcile": func(string) { w.settleKeys() },
			"delete the object": func(string) {
				if s := w.target("gateway-keys"); s != nil {
					w.must(w.client.Delete(t.Context(), s))
				}
			},
			"edit the object": func(string) {
				if s := w.target("gateway-keys"); s != nil {
					s.Data = map[string][]byte{"intruder": []byte("x")}
					w.must(w.client.Update(t.Context(), s, secretWriter))
				}
			},
			"wait": func(string) {
				now = now.Add(time.Duration(rapid.IntRange(1, 40).Draw(rt, "wait")) * time.Second)
				w.clock.SetTime(now)
			},
			"fail": func(string) {
				at, f := len(w.writes)+1, rapid.SampledFrom([]fault{faultBefore, faultAfter}).Draw(rt, "fault")
				w.fault = func(n int) fault {
					if n == at {
						return f
					}
					return faultNone
				}
				_, _ = w.reconcileExport(exportName)
				w.fault = func(int) fault { return faultNone }
			},
		}
		list := make([]string, 0, len(actions))
		for name := range actions {
			list = append(list, name)
		}
		slices.Sort(list)
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			name := rapid.SampledFrom(names).Draw(rt, "key")
			if !exists(name) {
				w.add(keystest.Key(name))
				w.settleKeys()
			}
			for range rapid.IntRange(1, 3).Draw(rt, "actions") {
				if action := rapid.SampledFrom(list).Draw(rt, "action"); exists(name) {
					actions[action](name)
				}
			}
			before := w.snapshot()
			w.mustExport()
			switch after := w.snapshot(); {
			case before != nil && before == after:
				skipped++
			default:
				evaluated++
			}
			want, known := w.acceptedByVerifier()
			got := slices.DeleteFunc(w.exported(), func(v string) bool { return !known[v] })
			if diff := cmp.Diff(append([]string{}, want...), append([]string{}, got...)); diff != "" {
				rt.Fatalf("the export differs from the verifier (-verifier +export):\n%s", diff)
			}
			if held += len(got); len(got) == 0 {
				empty++
			}
		}
	})
	if held == 0 || empty == 0 || skipped == 0 || evaluated == 0 {
		t.Errorf("%d credentials were held, %d times none, and the keys were evaluated %d times and %d times not, so the test proves too little",
			held, empty, evaluated, skipped)
	}
	t.Logf("%d credentials were held, %d times none; the keys were evaluated %d times, and %d times not", held, empty, evaluated, skipped)
}

// settleKeys reconciles keys and accounts, but no KeyExport.
func (w *exportFixture) settleKeys() {
	w.t.Helper()
	for range 4 {
		var all v1alpha1.APIKeyList
		w.must(w.client.List(w.t.Context(), &all))
		for i := range all.Items {
			_, _ = w.reconcileKeyWith(w.apikeys, all.Items[i].Name)
		}
		_, _ = w.reconcileAccount("acme")
	}
}
