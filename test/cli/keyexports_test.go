// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// newKeyExport returns a KeyExport that writes the keys of an account to Secrets.
func newKeyExport(namespace, name, account string, changes ...func(*v1alpha1.KeyExportSpec)) *v1alpha1.KeyExport {
	x := &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.KeyExportSpec{
		Accounts: []string{account}, Target: v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: name + "-keys"},
	}}
	for _, change := range changes {
		change(&x.Spec)
	}
	return x
}

func TestKeyExportsList_PrintsColumnsAndFormats(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace, other := w.namespace(t), w.namespace(t)
	web := newKeyExport(namespace, "web", "acme")
	web.Labels = map[string]string{"team": "mobile"}
	w.Create(t, web, newKeyExport(namespace, "app", "acme", func(s *v1alpha1.KeyExportSpec) { s.Content = v1alpha1.ExportContentKey }))
	w.Create(t, newKeyExport(other, "web", "acme"))

	rows := fields(w.run(t, "", "keyexports", "list", "-n", namespace).succeed(t))
	if len(rows) != 3 || rows[0] != "NAME TARGET CONTENT KEYS CREDENTIALS WITHHELD READY REASON AGE" {
		t.Fatalf("the table is %q", rows)
	}
	contains(t, rows[1], "app Secret/app-keys Key")
	contains(t, rows[2], "web Secret/web-keys Digest")
	all := fields(w.run(t, "", "keyexports", "list", "-A", "-o", "wide").succeed(t))
	contains(t, all[0], "NAMESPACE NAME", "LAYOUT OBJECTS CREATED")
	contains(t, strings.Join(all, "\n"), namespace+" web", other+" web")

	const prefix = "keyexport.apikey-manager.io/"
	w.run(t, "", "kex", "ls", "-n", namespace, "-o", "name").expect(t, prefix+"app\n"+prefix+"web\n")
	w.run(t, "", "kex", "ls", "-n", namespace, "-l", "team=mobile", "-o", "jsonpath={.items[*].spec.target.name}").expect(t, "web-keys")
	contains(t, w.run(t, "", "keyexports", "list", "-n", namespace, "-o", "json").succeed(t), `"kind": "KeyExportList"`, `"kind": "KeyExport"`)
	none := w.run(t, "", "keyexports", "list", "-n", namespace, "-l", "team=none")
	if none.code != 0 || none.out != "" || none.errOut != "No KeyExports found\n" {
		t.Errorf("an empty list is %+v", none)
	}
	w.run(t, "", "keyexports", "list", "-A", "--as=no-rights").expectFailure(t, 1, `cannot list resource "keyexports"`)
	w.run(t, "", "keyexports", "purge").expectFailure(t, 2, `unknown command "purge": see kubectl apikey keyexports --help`)
	w.run(t, "", "keyexports", "list", "-l", "a=b=c").expectFailure(t, 2, "invalid value of --selector")
}
