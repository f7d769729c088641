// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

func TestImport_Key(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	verifier := w.verifiers.With(t)
	namespace, account := w.namespace(t), controlplanetest.UniqueName("acme")
	const byDigest, byValue = "im_8Hd2Xw6QzJ4yUe0aVb7Nk3Pt9G", "lg_3f9Kq2ZpW7xYvB1nTc8Rm5Ls"
	w.Create(t, controlplanetest.NewAccount(account))
	w.run(t, byDigest, "import", "legacy", "--account="+account, "-n", namespace).expectFailure(t, 1, `{"spec":{"importPolicy":"Allow"}}`, byDigest)
	allowed := &v1alpha1.Account{}
	allowed.Name = account
	controlplanetest.Must(t, w.Admin.Patch(t.Context(), allowed, controlplanetest.MergePatch(`{"spec":{"importPolicy":"Allow"}}`)))

	for key, want := range map[string]string{"password": "the key must be a key of 22 to 256 characters", strings.Repeat("ab", 40): "is not random"} {
		w.run(t, key, "import", "weak", "--account="+account, "-n", namespace).expectFailure(t, 1, want, key)
	}
	w.run(t, byDigest, "import", "legacy", "--account="+account, "-n", namespace, "--dry-run=server").
		expect(t, "apikey.apikey-manager.io/legacy created (server dry run)\n")
	w.run(t, byDigest+"\n", "import", "legacy", "--account="+account, "--label=Kong", "-n", namespace).expect(t, "apikey.apikey-manager.io/legacy created\n")
	w.run(t, byValue+"\n", "import", "stored", "--account="+account, "-n", namespace, "--with-secret").expect(t, "apikey.apikey-manager.io/stored created\n")

	legacy, stored := controlplanetest.NewKey(namespace, "legacy", ""), controlplanetest.NewKey(namespace, "stored", "")
	w.Become(t, v1alpha1.StateActive, legacy, stored)
	if got := legacy.Spec.Import; got == nil || got.SHA256 != controlplanetest.Digest(byDigest) || got.Hint != "im_8" || legacy.Spec.Label != "Kong" {
		t.Errorf("got %+v", legacy.Spec)
	}
	if _, err := controlplanetest.SecretOf(t.Context(), w.Admin, legacy); err == nil {
		t.Error("a key that was imported by its digest has a Secret")
	}
	if got := string(w.Secret(t, stored).Data[keys.EntryCurrent]); got != byValue {
		t.Error("the Secret holds another key")
	}
	controlplanetest.AwaitVerdict(t, verifier, byDigest, "VALID")
	controlplanetest.AwaitVerdict(t, verifier, byValue, "VALID")
	w.run(t, "", "reveal", "legacy", "-n", namespace, "--yes").expectFailure(t, 1, "was imported by its digest")
	w.run(t, "", "reveal", "stored", "-n", namespace, "--yes").expect(t, byValue+"\n")

	// If the APIKey is rejected, its Secret does not stay.
	w.run(t, byDigest[:20]+"ABCDEFgh12", "import", "legacy", "--account="+account, "-n", namespace, "--with-secret").expectFailure(t, 1, "already exists")
	if _, err := controlplanetest.SecretOf(t.Context(), w.Admin, legacy); err == nil {
		t.Error("the Secret of a rejected key is left")
	}
}
