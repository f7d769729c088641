// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
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

func TestKeyExportsCreate_IsAcceptedForEachGateway(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace := w.namespace(t)
	list := w.run(t, "", "__complete", "kex", "create", "web", "--gateway", "").succeed(t)
	gateways := strings.Fields(strings.TrimSuffix(strings.TrimSpace(list), ":4"))
	if len(gateways) < 8 {
		t.Fatalf("the completion of --gateway is %q", list)
	}
	for _, gateway := range gateways {
		got := w.run(t, "", "keyexports", "create", gateway, "-n", namespace, "--gateway", gateway, "--dry-run=server")
		got.expect(t, "keyexport.apikey-manager.io/"+gateway+" created (server dry run)\n")
		contains(t, got.errOut, "The gateway needs, for example:", "namespace: "+namespace+"\n")
		w.expectMissing(t, newKeyExport(namespace, gateway, ""))
	}
}

func TestKeyExportsCreate_SetsEveryField(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace := w.namespace(t)
	flags := []string{
		"keyexports", "create", "api", "-n", namespace, "--gateway", "kgateway", "--account", "acme,contoso", "--scope", "orders:read", "--scope", "orders:write",
		"--account-selector", "tier in (gold, silver)", "--namespace-selector", "team=shop", "--target", "api-keys",
	}
	want := v1alpha1.KeyExportSpec{
		Accounts: []string{"acme", "contoso"}, Scopes: []string{"orders:read", "orders:write"}, Content: v1alpha1.ExportContentKey,
		AccountSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "tier", Operator: metav1.LabelSelectorOpIn, Values: []string{"gold", "silver"}},
		}},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}},
		Target:            v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: "api-keys", Labels: map[string]string{"example.com/api-keys": "api-keys"}},
	}
	var manifest v1alpha1.KeyExport
	out := w.run(t, "", append(flags, "--dry-run=client", "-o", "yaml")...).succeed(t)
	if err := yaml.UnmarshalStrict([]byte(out), &manifest); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, manifest.Spec); diff != "" || manifest.Kind != "KeyExport" || strings.Contains(out, "status") {
		t.Errorf("the manifest is\n%s\nthe spec differs (-want +got):\n%s", out, diff)
	}
	w.expectMissing(t, newKeyExport(namespace, "api", ""))

	got := w.run(t, "", append(flags, "--wait=false")...)
	got.expect(t, "keyexport.apikey-manager.io/api created\n")
	contains(t, got.errOut, "exportPolicy: Key", "example.com/api-keys: api-keys\n")
	created := newKeyExport(namespace, "api", "")
	w.Read(t, created)
	want.Layout, want.AddressRestricted = v1alpha1.ExportLayoutEntries, v1alpha1.AddressRestrictedWithhold
	if diff := cmp.Diff(want, created.Spec); diff != "" {
		t.Errorf("the spec differs (-want +got):\n%s", diff)
	}
	w.run(t, "", append(flags, "--wait=false")...).expectFailure(t, 1, "already exists")
	contains(t, w.run(t, "", "keyexports", "create", "digests", "-n", namespace, "--gateway", "agentgateway", "--dry-run=client").errOut,
		"--export-configmap-namespaces", "configMapSelector")
}

func TestKeyExportsCreate_InvalidCommandLines(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	for text, args := range map[string][]string{
		"--gateway is required":                {"web"},
		"invalid value of --gateway":           {"web", "--gateway", "traefik"},
		"nginx reads content Key":              {"web", "--gateway", "nginx", "--content", "Digest"},
		"accepts 1 arg":                        {"--gateway", "nginx"},
		"invalid value of --dry-run":           {"web", "--gateway", "nginx", "--dry-run=maybe"},
		"invalid value of --output":            {"web", "--gateway", "nginx", "-o", "xml"},
		"invalid value of --account-selector":  {"web", "--gateway", "nginx", "--account-selector", "a=b=c"},
		"invalid value of --namespace-selecto": {"web", "--gateway", "nginx", "--namespace-selector", "=,="},
	} {
		got := w.run(t, "", append([]string{"keyexports", "create"}, args...)...)
		got.expectFailure(t, 2, text)
	}
	w.run(t, "", "kex", "create", "web", "--gateway", "nginx", "--scope", "a b", "--dry-run=server").expectFailure(t, 1, "spec.scopes")
}

func TestKeyExportsDescribe(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace := w.namespace(t)
	k := w.issued(t, "web")[0]
	w.Create(t, newKeyExport(namespace, "api", k.Spec.Account), newKeyExport(namespace, "other", "contoso"))
	current := controlplanetest.CredentialOf(k, v1alpha1.RoleCurrent)

	out := w.run(t, "", "keyexports", "describe", "api", "-n", namespace).succeed(t)
	contains(t, out, "those of account "+k.Spec.Account, "Digest: the SHA-256 digest", "Secret api-keys; further ones", "Conditions:", "Events:")
	explained := strings.Join(fields(w.run(t, "", "kex", "describe", "api", "-n", namespace, "--key", k.Namespace+"/web").succeed(t)), "\n")
	contains(t, explained, "Selected: yes", "Accepted by verifiers: yes, 1 credential", "Withheld: no")
	contains(t, strings.Join(fields(w.run(t, "", "kex", "describe", "other", "-n", namespace, "--key", k.Namespace+"/web").succeed(t)), "\n"),
		"Selected: no: the key does not meet spec.accounts")
	if strings.Contains(out+explained, current.SHA256) || strings.Contains(out+explained, w.Material(t, k)) {
		t.Error("the description contains the key or its digest")
	}
	contains(t, strings.Join(fields(w.run(t, "", "describe", "web", "-n", k.Namespace).succeed(t)), "\n"), "KeyExports:", namespace+" api Secret/api-keys ")
	if own := w.run(t, "", "describe", "web", "-n", k.Namespace).succeed(t); strings.Contains(own, "other-keys") {
		t.Errorf("the key is in an export that does not select it:\n%s", own)
	}

	contains(t, w.run(t, "", "__complete", "keyexports", "describe", "-n", namespace, "").succeed(t), "api\tSecret/api-keys\n", "other\t", ":4\n")
	w.run(t, "", "kex", "describe", "missing", "-n", namespace).expectFailure(t, 1, `"missing" not found`)
	w.run(t, "", "kex", "describe", "api", "-n", namespace, "--key", k.Namespace+"/missing").expectFailure(t, 1, `"missing" not found`)
	w.run(t, "", "kex", "describe", "api", "-n", namespace, "--key", "web").expectFailure(t, 2, "invalid value of --key")
}

// A user who may not list KeyExports reads nothing of them, and needs no right to describe a key.
func TestDescribe_WithoutRightsOnKeyExports(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace, user := w.namespace(t), controlplanetest.UniqueName("viewer")
	k := w.issued(t, "web")[0]
	w.Create(t, newKeyExport(namespace, "api", k.Spec.Account), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: controlplanetest.ClusterRole("apikey-manager-viewer"), Subjects: controlplanetest.User(user),
	})
	controlplanetest.Eventually(t, "the user may read the key", func() error {
		got := w.run(t, "", "describe", "web", "-n", k.Namespace, "--as="+user)
		if got.code != 0 || got.errOut != "" || strings.Contains(got.out, "KeyExport") {
			return fmt.Errorf("code %d: %s%s", got.code, got.errOut, got.out)
		}
		return nil
	})
	w.run(t, "", "kex", "describe", "api", "-n", namespace, "--as="+user).expectFailure(t, 1, `cannot get resource "keyexports"`)
}
