// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func holders(a *v1alpha1.Account) []string {
	var names []string
	for _, s := range a.Status.Slots {
		names = append(names, s.Name)
	}
	return names
}

func TestAccount_OneWriteAdmitsAll(t *testing.T) {
	t.Parallel()
	w := newFixture(t, keystest.NewAccount("acme", keystest.MaxKeys(3)),
		keystest.Key("fourth", keystest.Created(at(4*time.Second))), keystest.Key("second", keystest.Created(at(2*time.Second))),
		keystest.Key("first", keystest.Created(at(1*time.Second))), keystest.Key("third", keystest.Created(at(3*time.Second))))
	if _, err := w.reconcileAccount("acme"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"update status of Account acme"}, w.writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	a := w.account("acme")
	if diff := cmp.Diff([]string{"first", "second", "third"}, holders(a)); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
	if a.Status.Keys.Usage != "3/3" || *a.Status.Keys.Waiting != 1 {
		t.Errorf("keys: %+v", a.Status.Keys)
	}
}

func TestAccount_ConfirmsFreeSlotsWithTheAPIServer(t *testing.T) {
	t.Parallel()
	begin := func(t *testing.T) *fixture {
		t.Helper()
		return settled(keystest.NewAccount("acme", keystest.MaxKeys(1)), keystest.Key("holder"), keystest.Key("waits", keystest.Created(at(time.Second))))(t)
	}
	// A stale cache that lacks the holder is simulated by a list that omits it.
	forgetful := func(w *fixture) *AccountReconciler {
		r := w.accounts()
		r.Client = omittingReader{r.Client, "holder"}
		return r
	}
	for name, tc := range map[string]struct {
		arrange     func(*fixture)
		wantHolders []string
		wantErr     error
	}{
		"it exists": {wantHolders: []string{"holder"}},
		"it was deleted": {
			arrange:     func(w *fixture) { w.must(w.client.Delete(w.t.Context(), w.key("holder"))) },
			wantHolders: []string{"waits"},
		},
		"another key has its name": {
			arrange: func(w *fixture) {
				w.must(w.client.Delete(w.t.Context(), w.key("holder")))
				w.add(keystest.Key("holder", keystest.UID("uid-again"), keystest.Created(at(time.Minute))))
			},
			wantHolders: []string{"waits"},
		},
		"the API server does not respond": {
			arrange:     func(w *fixture) { w.broken = errInjected },
			wantHolders: []string{"holder"}, wantErr: errInjected,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			if tc.arrange != nil {
				tc.arrange(w)
			}
			_, err := forgetful(w).Reconcile(t.Context(), w.account("acme"))
			if !errors.Is(err, tc.wantErr) {
				t.Errorf("got error %v, want %v", err, tc.wantErr)
			}
			if diff := cmp.Diff(tc.wantHolders, holders(w.account("acme"))); diff != "" {
				t.Errorf("slots (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"*v1alpha1.APIKey default/holder"}, w.reads); diff != "" {
				t.Errorf("reads from the API server (-want +got):\n%s", diff)
			}
		})
	}
}

// omittingReader omits a key from its lists, as a stale cache does.
type omittingReader struct {
	client.Client

	name string
}

func (f omittingReader) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if err := f.Client.List(ctx, list, options...); err != nil {
		return err
	}
	if l, ok := list.(*v1alpha1.APIKeyList); ok {
		kept := l.Items[:0]
		for _, k := range l.Items {
			if k.Name != f.name {
				kept = append(kept, k)
			}
		}
		l.Items = kept
	}
	return nil
}

func TestAccount_StaleAccountAssignsNoSlot(t *testing.T) {
	t.Parallel()
	w := newFixture(t, keystest.NewAccount("acme", keystest.MaxKeys(1)), keystest.Key("younger", keystest.Created(at(time.Second))))
	stale := w.account("acme")
	w.add(keystest.Key("older"))
	w.settle() // another manager admits the older key
	result, err := w.accounts().Reconcile(t.Context(), stale)
	if err != nil || result.RequeueAfter != staleRequeueAfter {
		t.Errorf("got %+v, %v; want a requeue after %s", result, err, staleRequeueAfter)
	}
	if diff := cmp.Diff([]string{"older"}, holders(w.account("acme"))); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
}

func TestAccount_LostRecordEvictsNoKey(t *testing.T) {
	t.Parallel()
	w := settled(keystest.NewAccount("acme", keystest.MaxKeys(2)), keystest.Key("first"), keystest.Key("second", keystest.Created(at(time.Second))),
		keystest.Key("waits", keystest.Created(at(2*time.Second))))(t)
	w.must(w.client.Delete(t.Context(), w.account("acme")))
	w.add(keystest.NewAccount("acme", keystest.MaxKeys(2)))
	w.settle()
	if diff := cmp.Diff([]string{"first", "second"}, holders(w.account("acme"))); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
	w.expectSound("first")
	w.expectSound("second")
	if w.secret("waits") != nil {
		t.Error("the waiting key has a Secret")
	}
}

// A key that did not get a slot before must not get one before keys that already have a credential, even if it is
// older.
func TestAccount_LostRecordPrefersIssuedKeys(t *testing.T) {
	t.Parallel()
	w := settled(keystest.NewAccount("acme", keystest.MaxKeys(2), keystest.Policy(func(a *v1alpha1.AccountSpec) { a.AllowedScopes = []string{"orders:*"} })),
		keystest.Key("oldest", keystest.Scopes("reports:read")),
		keystest.Key("first", keystest.Created(at(time.Second))), keystest.Key("second", keystest.Created(at(2*time.Second))))(t)
	w.expectSound("first")
	w.expectSound("second")
	w.must(w.client.Delete(t.Context(), w.account("acme")))
	w.add(keystest.NewAccount("acme", keystest.MaxKeys(2)))
	w.settle()
	if diff := cmp.Diff([]string{"first", "second"}, holders(w.account("acme"))); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
	if w.secret("oldest") != nil {
		t.Error("three keys of an account with a limit of two have a Secret")
	}
}

func TestAccount_RetriesFailedWrite(t *testing.T) {
	t.Parallel()
	w := newFixture(t, keystest.NewAccount("acme"), keystest.Key("web"))
	w.fault = func(int) fault { return faultBefore }
	if _, err := w.reconcileAccount("acme"); !errors.Is(err, errInjected) {
		t.Errorf("got %v, want the failure", err)
	}
}

func TestAccount_SelectsNamespacesByLabel(t *testing.T) {
	t.Parallel()
	selects := keystest.Policy(func(a *v1alpha1.AccountSpec) {
		a.AllowedNamespaces = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
	})
	w := newFixture(t, keystest.NewAccount("acme", selects), keystest.Key("web"),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"team": "a"}}})
	w.settle()
	w.expectSound("web")
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	w.read(space)
	space.Labels = nil
	w.must(w.client.Update(t.Context(), space))
	w.settle()
	c := meta.FindStatusCondition(w.key("web").Status.Conditions, v1alpha1.ConditionAccepted)
	if c == nil || c.Reason != v1alpha1.ReasonNamespaceNotAllowed {
		t.Errorf("Accepted is %+v", c)
	}
}

func TestAccount_RequiredAccountIsNotCreated(t *testing.T) {
	t.Parallel()
	w := newFixture(t, keystest.Key("web"))
	r := w.keys()
	r.Settings.RequireAccount = true
	if _, err := r.Reconcile(t.Context(), w.key("web")); err != nil {
		t.Fatal(err)
	}
	err := w.client.Get(t.Context(), client.ObjectKey{Name: "acme"}, &v1alpha1.Account{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the account: %v", err)
	}
	c := meta.FindStatusCondition(w.key("web").Status.Conditions, v1alpha1.ConditionAccepted)
	if c == nil || c.Reason != v1alpha1.ReasonAccountNotFound {
		t.Errorf("Accepted is %+v", c)
	}
}
