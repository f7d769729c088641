// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

func TestImport_List(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	verifier := w.verifiers.With(t)
	namespace, account := w.namespace(t), controlplanetest.UniqueName("acme")
	const byKey, byDigest = "im_2Qd7Xw6QzJ4yUe0aVb7Nk3Pt9G", "lg_8f9Kq2ZpW7xYvB1nTc8Rm5Ls"
	w.Create(t, controlplanetest.NewAccount(account, func(s *v1alpha1.AccountSpec) { s.ImportPolicy = v1alpha1.ImportAllow }))
	list := strings.Join([]string{
		"name,label,key,sha256,hint",
		"by-key,\"Shop, old\"," + byKey + ",,",
		"by-digest,,," + controlplanetest.Digest(byDigest) + ",lg_8",
		"weak,,password,,",
		"no-digest,,,,ab",
	}, "\n")
	got := w.run(t, list, "import", "--list=-", "--account="+account, "-n", namespace)
	got.expectFailure(t, 1, "line 4: the key must be a key of 22 to 256 characters", byKey, "password")
	got.expectFailure(t, 1, "line 5: the column sha256 must have 64 lower-case hexadecimal digits")
	if !strings.Contains(got.errOut, "imported 2 keys") {
		t.Errorf("got %q", got.errOut)
	}
	first, second := controlplanetest.NewKey(namespace, "by-key", ""), controlplanetest.NewKey(namespace, "by-digest", "")
	w.Become(t, v1alpha1.StateActive, first, second)
	if first.Spec.Label != "Shop, old" || first.Spec.Account != account {
		t.Errorf("got %+v", first.Spec)
	}
	controlplanetest.AwaitVerdict(t, verifier, byKey, "VALID")
	controlplanetest.AwaitVerdict(t, verifier, byDigest, "VALID")

	for list, want := range map[string]string{
		"":                                 "the list has no header",
		"name,password":                    "column 2 of the list must be one of",
		"name,sha256":                      "must have the columns name, and key or sha256 and hint",
		"name,key\na," + byKey + ",x":      "line 2 is not CSV with 2 columns",
		"name,key\n" + byKey + "," + byKey: "line 2: the column name must have the name",
	} {
		w.run(t, list, "import", "--list=-", "--account="+account, "-n", namespace).expectFailure(t, 1, want, byKey)
	}
	w.run(t, list, "import", "name", "--list=-", "--account="+account).expectFailure(t, 2, "name one of")
}
