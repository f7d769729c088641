// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// issued creates a namespace with keys of one account, and waits until they are issued.
func (w *suite) issued(t *testing.T, names ...string) []*v1alpha1.APIKey {
	t.Helper()
	namespace, account := w.namespace(t), controlplanetest.UniqueName("customer")
	list := make([]*v1alpha1.APIKey, len(names))
	for i, name := range names {
		list[i] = controlplanetest.NewKey(namespace, name, account)
	}
	w.Issue(t, list...)
	return list
}

// expectSpecState fails the test unless spec.state is as wanted.
func (w *suite) expectSpecState(t *testing.T, k *v1alpha1.APIKey, want v1alpha1.KeyState) {
	t.Helper()
	w.Read(t, k)
	if k.Spec.State != want {
		t.Errorf("spec.state of %s is %q, want %q", k.Name, k.Spec.State, want)
	}
}

func TestState_DeactivateSaysThatEveryVerifierRejectsTheKey(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := w.issued(t, "web")[0]
	material, verifier := w.Material(t, k), w.replica(t)
	controlplanetest.AwaitVerdict(t, verifier, material, "VALID")

	out := w.run(t, "", "deactivate", "web", "-n", k.Namespace).succeed(t)
	controlplanetest.ExpectVerdict(t, verifier, material, "INACTIVE") // at once, because the command said so
	contains(t, out, "apikey.apikey-manager.io/web deactivated: the key is Inactive, and every verifier rejects it")

	out = w.run(t, "", "activate", "web", "-n", k.Namespace).succeed(t)
	contains(t, out, "web activated: the key is Active")
	controlplanetest.AwaitVerdict(t, verifier, material, "VALID")
}

func TestState_SelectsByAccountAndContinuesAfterFailure(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	list := w.issued(t, "web", "app")
	w.Change(t, list[1], func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateRevoked })
	w.Become(t, v1alpha1.StateRevoked, list[1])

	got := w.run(t, "", "deactivate", "-A", "--account", list[0].Spec.Account, "--wait=false")
	contains(t, got.out, "web deactivated in namespace "+list[0].Namespace)
	got.expectFailure(t, 1, "1 of 2 keys failed")
	contains(t, got.errOut, "error: "+list[1].Namespace+"/app: ")
	w.expectSpecState(t, list[0], v1alpha1.KeyStateInactive)
	w.run(t, "", "deactivate", "-n", list[0].Namespace, "--account", "nobody-here").expectFailure(t, 1, "no keys match")
}

func TestState_DryRunChangesNothing(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := w.issued(t, "web")[0]
	out := w.run(t, "", "revoke", "web", "-n", k.Namespace, "--dry-run=server").succeed(t)
	contains(t, out, "web revoked (server dry run)")
	w.expectSpecState(t, k, v1alpha1.KeyStateActive)
}

func TestState_RevokeAsksFirst(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := w.issued(t, "web")[0]
	args := []string{"revoke", "web", "-n", k.Namespace}
	w.run(t, "y\n", args...).expectFailure(t, 2, "pass --yes to confirm") // a pipe is no user
	no := w.runAtTerminal(t, "n", args...)
	no.expectFailure(t, 1, "canceled: nothing was changed")
	contains(t, no.errOut, k.Namespace+"/web of account "+k.Spec.Account, "Revoke this key? This cannot be undone. [y/N]")
	w.expectSpecState(t, k, v1alpha1.KeyStateActive)
	contains(t, w.runAtTerminal(t, "yes", args...).succeed(t), "web revoked: the key is Revoked")
	w.expectSpecState(t, k, v1alpha1.KeyStateRevoked)
}

func TestState_SaysWhyAnActiveKeyIsRejected(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	a := controlplanetest.NewAccount(controlplanetest.UniqueName("customer"))
	w.Create(t, a)
	k := controlplanetest.NewKey(w.namespace(t), "web", a.Name)
	w.Issue(t, k)
	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	w.Become(t, v1alpha1.StateInactive, k)
	controlplanetest.Must(t, w.Admin.Patch(t.Context(), a, controlplanetest.MergePatch(`{"spec":{"state":"Suspended"}}`)))
	out := w.run(t, "", "activate", "web", "-n", k.Namespace).succeed(t)
	contains(t, out, "so verifiers reject it")
}
