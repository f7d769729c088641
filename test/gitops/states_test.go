// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gitops_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/console"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// page documents the health of each state, in tables with these headings.
const page = "docs/gitops.md"

// state is a state of an object that docs/gitops.md documents.
type state struct {
	// row is the first cell of its row in the table.
	row string
	// reach returns an object in that state.
	reach func(t *testing.T) client.Object
}

// TestHealth_IsAsDocumented brings a key, account or KeyExport into each state of the tables in docs/gitops.md, and checks what kstatus, the
// expressions for Flux and the script for Argo CD make of it.
func TestHealth_IsAsDocumented(t *testing.T) {
	t.Parallel()
	s := shared.Get(t)
	documented := documentedHealth(t, s.Plane.Root())
	argocd, flux := newHealthChecks(t, s.Plane.Root()), newHealthExpressions(t, s.Plane.Root())
	w := &states{suite: s, namespace: s.newNamespace(t)}
	list := slices.Concat(w.keys(), w.accounts(), w.exports())
	for _, state := range list {
		t.Run(state.row, func(t *testing.T) {
			t.Parallel()
			object := asUnstructured(t, state.reach(t))
			want, ok := documented[state.row]
			if !ok {
				t.Fatalf("%s has no row %q", page, state.row)
			}
			result, err := status.Compute(object)
			controlplanetest.Must(t, err)
			got := health{kstatus: result.Status.String(), flux: flux.evaluate(t, object), argocd: argocd.evaluate(t, object).Status}
			if got != want {
				t.Errorf("the health is %+v, but %s says %+v\nstatus: %v", got, page, want, object.Object["status"])
			}
		})
	}
	if len(list) != len(documented) {
		t.Errorf("%s documents %d states, the test has %d", page, len(documented), len(list))
	}
}

// health is what tools make of an object.
type health struct{ kstatus, flux, argocd string }

// documentedHealth returns the rows of the tables in docs/gitops.md whose second column is kstatus.
func documentedHealth(t *testing.T, root string) map[string]health {
	t.Helper()
	text, err := console.Read(root, page)
	controlplanetest.Must(t, err)
	rows, inTable := map[string]health{}, false
	for line := range strings.Lines(text.Prose) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case len(cells) != 4:
			inTable = false
		case cells[1] == "kstatus":
			inTable = true
		case inTable && !strings.HasPrefix(cells[0], "---"):
			rows[cells[0]] = health{kstatus: cells[1], flux: cells[2], argocd: cells[3]}
		}
	}
	return rows
}

// states brings objects into states. Its keys are in one namespace and have an account each.
type states struct {
	*suite

	namespace string
}

func (s *states) keys() []state {
	setState := func(state v1alpha1.KeyState) func(*v1alpha1.APIKeySpec) {
		return func(k *v1alpha1.APIKeySpec) { k.State = state }
	}
	expire := func(k *v1alpha1.APIKeySpec) { k.Expiration = time.Now().Add(-time.Hour).UTC().Format(time.RFC3339) }
	return []state{
		{"just created", func(t *testing.T) client.Object { t.Helper(); return s.justCreated(t) }},
		{"just changed", func(t *testing.T) client.Object { t.Helper(); return s.justChanged(t) }},
		{"`Active`", s.changed(v1alpha1.StateActive)},
		{"`Inactive`", s.changed(v1alpha1.StateInactive, setState(v1alpha1.KeyStateInactive))},
		{"`Expired`", s.changed(v1alpha1.StateExpired, expire)},
		{"`Revoked`", s.changed(v1alpha1.StateRevoked, setState(v1alpha1.KeyStateRevoked))},
		{"`Suspended`", s.suspended},
		{"`Pending`: the account is suspended", s.pendingSuspended},
		{"`Pending`: `LimitReached` under `Queue`", s.queued},
		{"`Pending`: `LabelTaken`", s.labelTaken},
		{"`Pending`: `InvalidSpec`", s.invalid},
		{"`Pending`: `ScopeNotAllowed` after the account was changed", s.scopeNotAllowed},
		{"`Pending`: `SecretConflict`", s.secretConflict},
	}
}

func (s *states) accounts() []state {
	return []state{
		{"account `Active`", func(t *testing.T) client.Object { t.Helper(); return s.newAccount(t) }},
		{"account `Suspended`", func(t *testing.T) client.Object {
			t.Helper()
			return s.newAccount(t, func(a *v1alpha1.AccountSpec) { a.State = v1alpha1.AccountSuspended })
		}},
		{"account with `InvalidSpec`", func(t *testing.T) client.Object {
			t.Helper()
			return s.await(t, brokenAccount(controlplanetest.UniqueName("broken")), v1alpha1.ReasonInvalidSpec)
		}},
		{"account with `ExternalIDTaken`", s.externalIDTaken},
	}
}

func (s *states) exports() []state {
	newExport := func(changes ...func(*v1alpha1.KeyExportSpec)) *v1alpha1.KeyExport {
		name := controlplanetest.UniqueName("gateway")
		e := &v1alpha1.KeyExport{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: map[string]string{unreviewed: ""}},
			Spec: v1alpha1.KeyExportSpec{
				Accounts: []string{"no-account"}, Target: v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: name},
			},
		}
		for _, change := range changes {
			change(&e.Spec)
		}
		return e
	}
	return []state{
		{"KeyExport just created", func(t *testing.T) client.Object {
			t.Helper()
			e := newExport()
			s.Create(t, e)
			return e
		}},
		{"KeyExport with `Exported`", func(t *testing.T) client.Object {
			t.Helper()
			return s.await(t, newExport(), v1alpha1.ReasonExported)
		}},
		{"KeyExport with `TargetConflict`", func(t *testing.T) client.Object {
			t.Helper()
			e := newExport()
			s.Create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Spec.Target.Name}})
			return s.await(t, e, v1alpha1.ReasonTargetConflict)
		}},
		{"KeyExport with `ConfigMapsNotAllowed`", func(t *testing.T) client.Object {
			t.Helper()
			return s.await(t, newExport(func(e *v1alpha1.KeyExportSpec) { e.Target.Kind = v1alpha1.ExportToConfigMap }), v1alpha1.ReasonConfigMapsNotAllowed)
		}},
		{"KeyExport with `InvalidSpec`", func(t *testing.T) client.Object {
			t.Helper()
			return s.await(t, newExport(func(e *v1alpha1.KeyExportSpec) { e.Entry = &v1alpha1.ExportEntry{Value: "constant"} }), v1alpha1.ReasonInvalidSpec)
		}},
	}
}

// newKey returns a key of a new account.
func (s *states) newKey(t *testing.T, changes ...func(*v1alpha1.APIKeySpec)) *v1alpha1.APIKey {
	t.Helper()
	return controlplanetest.NewKey(s.namespace, controlplanetest.UniqueName("key"), s.newAccount(t).Name, changes...)
}

// await creates an object, and waits until its condition Ready has a reason.
func (s *states) await(t *testing.T, o client.Object, reason string) client.Object {
	t.Helper()
	s.Create(t, o)
	return s.awaitReason(t, o, reason)
}

func (s *states) awaitReason(t *testing.T, o client.Object, reason string) client.Object {
	t.Helper()
	controlplanetest.Eventually(t, "the reason of Ready is "+reason, func() error {
		s.Read(t, o)
		conditions, observed := conditionsOf(o)
		ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
		if observed != o.GetGeneration() || ready == nil || ready.Reason != reason {
			return fmt.Errorf("the conditions are %v", conditions)
		}
		return nil
	})
	return o
}

func conditionsOf(o client.Object) (conditions []metav1.Condition, observedGeneration int64) {
	switch o := o.(type) {
	case *v1alpha1.APIKey:
		return o.Status.Conditions, o.Status.ObservedGeneration
	case *v1alpha1.Account:
		return o.Status.Conditions, o.Status.ObservedGeneration
	case *v1alpha1.KeyExport:
		return o.Status.Conditions, o.Status.ObservedGeneration
	}
	return nil, 0
}

// justCreated returns a key as the API server returns it to the client that creates it.
func (s *states) justCreated(t *testing.T) client.Object {
	t.Helper()
	k := s.newKey(t)
	s.Create(t, k)
	return k
}

// justChanged returns a refused key as the API server returns it to the client that corrects it.
func (s *states) justChanged(t *testing.T) client.Object {
	t.Helper()
	k := s.invalid(t).(*v1alpha1.APIKey)
	s.Change(t, k, func(k *v1alpha1.APIKeySpec) { k.Secret = nil })
	return k
}

// changed returns a function that issues a key, changes it, and waits until it is in a state.
func (s *states) changed(want v1alpha1.ObservedState, changes ...func(*v1alpha1.APIKeySpec)) func(*testing.T) client.Object {
	return func(t *testing.T) client.Object {
		t.Helper()
		k := s.newKey(t)
		s.Issue(t, k)
		s.Change(t, k, changes...)
		s.Become(t, want, k)
		return k
	}
}

// changeAccount changes the spec of the account of a key by a merge patch.
func (s *states) changeAccount(t *testing.T, k *v1alpha1.APIKey, patch string) {
	t.Helper()
	controlplanetest.Must(t, s.Admin.Patch(t.Context(), controlplanetest.NewAccount(k.Spec.Account), controlplanetest.MergePatch(patch)))
}

func (s *states) suspended(t *testing.T) client.Object {
	t.Helper()
	k := s.newKey(t)
	s.Issue(t, k)
	s.changeAccount(t, k, `{"spec":{"state":"Suspended"}}`)
	return s.awaitReason(t, k, v1alpha1.ReasonAccountSuspended)
}

func (s *states) pendingSuspended(t *testing.T) client.Object {
	t.Helper()
	k := s.newKey(t)
	s.changeAccount(t, k, `{"spec":{"state":"Suspended"}}`)
	return s.await(t, k, v1alpha1.ReasonAccountSuspended)
}

func (s *states) queued(t *testing.T) client.Object {
	t.Helper()
	k := s.newKey(t)
	s.changeAccount(t, k, `{"spec":{"limits":{"maxKeys":0,"enforcement":"Queue"}}}`)
	return s.await(t, k, v1alpha1.ReasonLimitReached)
}

func (s *states) labelTaken(t *testing.T) client.Object {
	t.Helper()
	older := s.newKey(t, func(k *v1alpha1.APIKeySpec) { k.Label = "Shop" })
	s.Issue(t, older)
	k := controlplanetest.NewKey(s.namespace, controlplanetest.UniqueName("key"), older.Spec.Account, func(k *v1alpha1.APIKeySpec) { k.Label = "Shop" })
	k.Labels = map[string]string{unreviewed: ""}
	return s.await(t, k, v1alpha1.ReasonLabelTaken)
}

func (s *states) invalid(t *testing.T) client.Object {
	t.Helper()
	k := s.newKey(t, func(k *v1alpha1.APIKeySpec) {
		k.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{Data: map[string]string{"key": "{{ .Kex }}"}}}
	})
	k.Labels = map[string]string{unreviewed: ""}
	return s.await(t, k, v1alpha1.ReasonInvalidSpec)
}

func (s *states) scopeNotAllowed(t *testing.T) client.Object {
	t.Helper()
	k := s.newKey(t, func(k *v1alpha1.APIKeySpec) { k.Scopes = []string{"orders:write"} })
	s.Issue(t, k)
	s.changeAccount(t, k, `{"spec":{"allowedScopes":["orders:read"]}}`)
	return s.awaitReason(t, k, v1alpha1.ReasonScopeNotAllowed)
}

func (s *states) secretConflict(t *testing.T) client.Object {
	t.Helper()
	k := s.newKey(t)
	s.Create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Name}})
	return s.await(t, k, v1alpha1.ReasonSecretConflict)
}

// externalIDTaken returns the younger of two accounts with the same external ID. If both were created in the same second, the
// manager decides which one that is.
func (s *states) externalIDTaken(t *testing.T) client.Object {
	t.Helper()
	accounts := make([]*v1alpha1.Account, 2)
	for i := range accounts {
		accounts[i] = controlplanetest.NewAccount(controlplanetest.UniqueName("customer"), func(a *v1alpha1.AccountSpec) { a.ExternalID = "20418" })
		accounts[i].Labels = map[string]string{unreviewed: ""}
		s.Create(t, accounts[i])
	}
	var taken *v1alpha1.Account
	controlplanetest.Until(t, "neither account is refused", func() bool {
		for _, a := range accounts {
			s.Read(t, a)
			if ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); ready != nil && ready.Reason == v1alpha1.ReasonExternalIDTaken {
				taken = a
			}
		}
		return taken != nil
	})
	return taken
}

func asUnstructured(t *testing.T, o client.Object) *unstructured.Unstructured {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	controlplanetest.Must(t, err)
	u := &unstructured.Unstructured{Object: content}
	kind := "APIKey"
	switch o.(type) {
	case *v1alpha1.Account:
		kind = "Account"
	case *v1alpha1.KeyExport:
		kind = "KeyExport"
	}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	return u
}

// sampleFile returns the path of a sample for GitOps.
func sampleFile(root string, parts ...string) string {
	return filepath.Join(append([]string{samples(root)}, parts...)...)
}
