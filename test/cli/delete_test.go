// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// underPolicy creates keys of an account with a deletion policy.
func (w *suite) underPolicy(t *testing.T, policy v1alpha1.DeletionPolicy, names ...string) []*v1alpha1.APIKey {
	t.Helper()
	a := controlplanetest.NewAccount(controlplanetest.UniqueName("customer"), func(s *v1alpha1.AccountSpec) { s.DeletionPolicy = policy })
	w.Create(t, a)
	namespace := w.namespace(t)
	list := make([]*v1alpha1.APIKey, len(names))
	for i, name := range names {
		list[i] = controlplanetest.NewKey(namespace, name, a.Name, func(s *v1alpha1.APIKeySpec) { s.Label = "Key " + name })
	}
	w.Issue(t, list...)
	return list
}

func TestDelete_NamesWhatItDeletesAndConfirms(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	list := w.underPolicy(t, v1alpha1.DeletionRequireConfirmation, "web", "app")
	args := []string{"delete", "-n", list[0].Namespace, "--account", list[0].Spec.Account}
	w.run(t, "y\n", args...).expectFailure(t, 2, "pass --yes to confirm")
	no := w.runAtTerminal(t, "", args...)
	no.expectFailure(t, 1, "canceled: nothing was changed")
	contains(t, no.errOut, "/app of account "+list[0].Spec.Account+`, label "Key app", Active`, `/web of account`, "Delete these 2 keys?")

	contains(t, w.run(t, "", append(args, "--dry-run=server")...).succeed(t), "app deleted (server dry run)")
	w.Read(t, list[0])
	if _, confirmed := list[0].Annotations[v1alpha1.ConfirmDeletionAnnotation]; confirmed {
		t.Error("a refused question or a dry run confirms a deletion")
	}
	out := w.runAtTerminal(t, "y", args...).succeed(t)
	contains(t, out, "apikey.apikey-manager.io/app deleted\n", "apikey.apikey-manager.io/web deleted\n")
	for _, k := range list {
		w.AwaitDeleted(t, k)
	}
}

func TestDelete_SaysWhatToDoWhereTheAccountForbids(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	kept := w.underPolicy(t, v1alpha1.DeletionForbid, "kept")[0]
	free := controlplanetest.NewKey(kept.Namespace, "free", controlplanetest.UniqueName("customer"))
	w.Issue(t, free)
	got := w.run(t, "", "delete", "--all", "-n", kept.Namespace, "--yes")
	got.expectFailure(t, 1, "1 of 2 keys were not deleted")
	contains(t, got.errOut, kept.Namespace+"/kept: account "+kept.Spec.Account+" forbids the deletion of keys")
	contains(t, got.out, "free deleted")
	w.AwaitDeleted(t, free)
	w.Read(t, kept)
	if len(kept.Annotations) > 0 {
		t.Errorf("a forbidden deletion leaves annotations: %v", kept.Annotations)
	}
}

func TestDelete_SparesKeysCreatedAfterTheQuestion(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := w.underPolicy(t, v1alpha1.DeletionRequireConfirmation, "web")[0]
	controller, terminal := openTerminal(t)
	asked := &signalWriter{text: "[y/N]", seen: make(chan struct{})}
	done := make(chan result, 1)
	go func() { done <- w.runWith(t, terminal, asked, "delete", "web", "-n", k.Namespace) }()
	<-asked.seen
	k.Annotations = map[string]string{v1alpha1.ConfirmDeletionAnnotation: k.Name}
	controlplanetest.Must(t, w.Admin.Update(t.Context(), k))
	controlplanetest.Must(t, w.Admin.Delete(t.Context(), k))
	w.AwaitDeleted(t, k)
	successor := controlplanetest.NewKey(k.Namespace, "web", k.Spec.Account)
	w.Issue(t, successor)
	if _, err := controller.WriteString("y\n"); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.code != 1 || !strings.Contains(asked.String(), "UID") {
		t.Errorf("got code %d and %q", got.code, asked.String())
	}
	w.Read(t, successor)
	if !successor.DeletionTimestamp.IsZero() || len(successor.Annotations) > 0 {
		t.Errorf("the successor is deleted at %v, with annotations %v", successor.DeletionTimestamp, successor.Annotations)
	}
}
