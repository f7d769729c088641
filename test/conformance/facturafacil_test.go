// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// Factura Fácil: a distributor makes keys for its customers. Each has a UUID, is found by customer and by it, comes as two
// headers that both have to match, has a history, and is deleted after a question that names it.

var (
	anyUUID      = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	alphanumeric = regexp.MustCompile(`^[0-9A-Za-z]{101,}$`)
)

var companies atomic.Int64

// newCompany returns the UUID of a new customer.
func newCompany() string { return fmt.Sprintf("7f9c24e8-3b0a-4d56-9a41-%012d", companies.Add(1)) }

func (w *suite) facturaFacil(t *testing.T) *v1alpha1.Account {
	t.Helper()
	return w.newAccount(t, v1alpha1.AccountSpec{
		DisplayName: "Acme Tiendas, S.A. de C.V.", ExternalID: newCompany(), DeletionPolicy: v1alpha1.DeletionRequireConfirmation,
		KeyDefaults: &v1alpha1.KeyDefaults{Format: &v1alpha1.Format{Type: v1alpha1.FormatAlphanumeric, Length: 120}},
	})
}

func twoHeaderSpec(account *v1alpha1.Account, label string) v1alpha1.APIKeySpec {
	return v1alpha1.APIKeySpec{Account: account.Name, Label: label, Secret: &v1alpha1.SecretSpec{
		Template: &v1alpha1.SecretTemplate{Data: map[string]string{"X-FF-API-Key": "{{ .Key }}", "X-FF-Company": "{{ .ExternalID }}"}},
	}}
}

func TestFacturaFacil_SecretHoldsBothHeaders(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account := w.facturaFacil(t)
	k := newKey(w.newNamespace(t), "timbrado", twoHeaderSpec(account, "Timbrado"))
	w.Issue(t, k)
	data := w.Secret(t, k).Data
	if len(data) != 2 || string(data["X-FF-Company"]) != account.Spec.ExternalID || !alphanumeric.Match(data["X-FF-API-Key"]) {
		t.Errorf("the Secret has %d entries, company %q, a key of %d characters", len(data), data["X-FF-Company"], len(data["X-FF-API-Key"]))
	}
	if currentDigest(k) != controlplanetest.Digest(string(data["X-FF-API-Key"])) {
		t.Error("verifiers do not know the key in X-FF-API-Key")
	}
	// The customer's ID can be changed in the account without changing the key.
	const moved = "00000000-0000-4000-8000-000000000001"
	w.mustKubectl(t, "patch", "account", account.Name, "--type=merge", "-p", `{"spec":{"externalID":"`+moved+`"}}`)
	controlplanetest.Eventually(t, "the Secret has the new id", func() error {
		return controlplanetest.Equal(string(w.Secret(t, k).Data["X-FF-Company"]), moved)
	})
	if string(w.Secret(t, k).Data["X-FF-API-Key"]) != string(data["X-FF-API-Key"]) {
		t.Error("the key changed with the customer's id")
	}
}

func TestFacturaFacil_BothHeadersMustMatch(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.facturaFacil(t), w.newNamespace(t)
	k := newKey(namespace, "timbrado", twoHeaderSpec(account, "Timbrado"))
	w.Issue(t, k)
	block := map[string]string{}
	for name, value := range w.Secret(t, k).Data { // the credentials block that an integrator copies
		block[name] = string(value)
	}
	other := func(name, value string) map[string]string {
		headers := maps.Clone(block)
		headers[name] = value
		return headers
	}
	verifier := w.verifiers.With(t, "--key-source=header:X-FF-API-Key", "--account-header=X-FF-Company:externalID")
	w.awaitVerdict(t, "VALID", verifier, "", block)
	expectVerdict(t, "403 ACCOUNT_MISMATCH", verifier, "", other("X-FF-Company", "00000000-0000-4000-8000-000000000001"))
	expectVerdict(t, "403 ACCOUNT_MISMATCH", verifier, "", other("X-FF-Company", ""))
	expectVerdict(t, "401 UNKNOWN", verifier, "", other("X-FF-API-Key", block["X-FF-API-Key"][1:]+"x"))
	expectVerdict(t, "401 MISSING", verifier, "", other("X-FF-API-Key", ""))
	// A key of another customer is rejected with this customer's ID.
	theirs := newKey(namespace, "ajeno", twoHeaderSpec(w.newAccount(t, v1alpha1.AccountSpec{ExternalID: "another"}), "Ajeno"))
	w.Issue(t, theirs)
	w.awaitVerdict(t, "403 ACCOUNT_MISMATCH", verifier, "", other("X-FF-API-Key", string(w.Secret(t, theirs).Data["X-FF-API-Key"])))
	// So is a key of an account whose name is this customer's ID. Any user who may create keys can have such an account
	// created.
	squatter := newKey(namespace, "okupa", v1alpha1.APIKeySpec{Account: account.Spec.ExternalID})
	w.Issue(t, squatter)
	w.awaitVerdict(t, "403 ACCOUNT_MISMATCH", verifier, "", other("X-FF-API-Key", string(w.Secret(t, squatter).Data["api-key"])))
}

func TestFacturaFacil_InvalidTemplateIsDenied(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.facturaFacil(t), w.newNamespace(t)
	for template, says := range map[string]string{
		"{{ .Kye }}":                  "X-FF-API-Key:1",
		"{{ .Key":                     "X-FF-API-Key:1",
		"{{ env \"HOME\" }}":          `"env" not defined`,
		"{{ range 9 }}{{ end }}":      "range is available over .Scopes and .Metadata only",
		"the key is not in any of it": "no entry contains {{ .Key }} unchanged",
	} {
		k := newKey(namespace, controlplanetest.UniqueName("bad"), twoHeaderSpec(account, ""))
		k.Spec.Secret.Template.Data["X-FF-API-Key"] = template
		expectDenied(t, w.Admin.Create(t.Context(), k), v1alpha1.ReasonInvalidSpec, says)
	}
	// A change that breaks the template of an active key is denied, and its Secret does not change.
	k := newKey(namespace, "timbrado", twoHeaderSpec(account, "Timbrado"))
	w.Issue(t, k)
	before := w.Secret(t, k)
	expectDenied(t, w.tryChange(t, k, func(s *v1alpha1.APIKeySpec) { s.Secret.Template.Data["X-FF-Company"] = "{{ .Nobody }}" }), v1alpha1.ReasonInvalidSpec, "X-FF-Company:1")
	if w.Secret(t, k).ResourceVersion != before.ResourceVersion {
		t.Error("the Secret was written")
	}
}

func TestFacturaFacil_KeysAreFoundByCustomerAndByID(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	one, other, namespace := w.facturaFacil(t), w.facturaFacil(t), w.newNamespace(t)
	a, b := newKey(namespace, "a", twoHeaderSpec(one, "A")), newKey(namespace, "b", twoHeaderSpec(one, "B"))
	c := newKey(namespace, "c", twoHeaderSpec(other, "A")) // another customer's keys may have the same label
	w.Issue(t, a, b, c)

	var found []string
	for _, k := range w.listKeys(t, client.MatchingFields{"spec.account": one.Name}) {
		found = append(found, k.Name)
		if !anyUUID.MatchString(string(k.UID)) {
			t.Errorf("the id of %s is %q, no UUID", k.Name, k.UID)
		}
	}
	slices.Sort(found)
	if !slices.Equal(found, []string{"a", "b"}) {
		t.Errorf("the customer has keys %v", found)
	}
	byID := w.mustKubectl(t, "get", "apikeys", "-A", "-o", `jsonpath={.items[?(@.metadata.uid=="`+string(b.UID)+`")].metadata.name}`)
	if byID != "b" {
		t.Errorf("the id finds %q", byID)
	}
	inactive := func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive }
	w.Change(t, a, inactive)
	w.Become(t, v1alpha1.StateInactive, a)
	if list := w.listKeys(t, client.MatchingFields{"spec.account": one.Name, "status.state": "Active"}); len(list) != 1 || list[0].Name != "b" {
		t.Errorf("%d keys of the customer are active", len(list))
	}
}

func TestFacturaFacil_DeletionNeedsConfirmation(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.facturaFacil(t), w.newNamespace(t)
	a, b, c := newKey(namespace, "a", twoHeaderSpec(account, "A")), newKey(namespace, "b", twoHeaderSpec(account, "B")), newKey(namespace, "c", twoHeaderSpec(account, "C"))
	w.Issue(t, a, b, c)
	confirm := v1alpha1.ConfirmDeletionAnnotation + "="

	// Deleting one key: the message names the key and the command that confirms the deletion.
	out, err := w.kubectl(t, "delete", "apikey", "a", "-n", namespace)
	if err == nil || !strings.Contains(out, "kubectl annotate apikey a -n "+namespace+" "+confirm+"a") || !strings.Contains(out, "cannot be undone") {
		t.Errorf("deleting without a confirmation was answered: %v\n%s", err, out)
	}
	w.mustKubectl(t, "annotate", "apikey", "a", "-n", namespace, confirm+"b") // the name of another key does not confirm the deletion
	if _, err := w.kubectl(t, "delete", "apikey", "a", "-n", namespace); err == nil {
		t.Fatal("a confirmation of another key let this one be deleted")
	}
	w.mustKubectl(t, "annotate", "--overwrite", "apikey", "a", "-n", namespace, confirm+"a")
	w.mustKubectl(t, "delete", "apikey", "a", "-n", namespace)
	w.AwaitDeleted(t, a)

	// Deleting several keys: the messages name each of them.
	out, err = w.kubectl(t, "delete", "apikeys", "b", "c", "-n", namespace)
	if err == nil || !strings.Contains(out, confirm+"b") || !strings.Contains(out, confirm+"c") {
		t.Errorf("deleting in bulk without a confirmation was answered: %v\n%s", err, out)
	}
	for _, k := range []*v1alpha1.APIKey{b, c} {
		w.mustKubectl(t, "annotate", "apikey", k.Name, "-n", namespace, confirm+k.Name)
	}
	w.mustKubectl(t, "delete", "apikeys", "--all", "-n", namespace)
	for _, k := range []*v1alpha1.APIKey{b, c} {
		w.AwaitDeleted(t, k)
		if w.Plane.HasControllers() { // without them nothing collects what is left
			w.AwaitDeleted(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: keys.SecretName(k)}})
		}
	}
	// A deleted key cannot be recovered: the same manifest creates another key.
	again := newKey(namespace, "a", twoHeaderSpec(account, "A"))
	w.Issue(t, again)
	if again.UID == a.UID || currentDigest(again) == currentDigest(a) {
		t.Error("a deleted key came back")
	}
}

func TestFacturaFacil_EveryKeyHasAHistory(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := newKey(w.newNamespace(t), "timbrado", twoHeaderSpec(w.facturaFacil(t), "Timbrado"))
	w.Issue(t, k)
	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	w.Become(t, v1alpha1.StateInactive, k)
	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateActive })
	w.Become(t, v1alpha1.StateActive, k)
	want := []string{v1alpha1.ReasonIssued, v1alpha1.ReasonDeactivated, v1alpha1.ReasonActivated}
	if got := controlplanetest.HistoryReasons(k); !slices.Equal(got, want) {
		t.Errorf("the history is %v, want %v", got, want)
	}
	for i, h := range k.Status.History {
		if h.Time.IsZero() || h.Message == "" || (i > 0 && h.Time.Before(&k.Status.History[i-1].Time)) {
			t.Errorf("entry %d of the history is %+v", i, h)
		}
	}
}

func TestFacturaFacil_PluginFindsAndDeletesInBulk(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.facturaFacil(t), w.newNamespace(t)
	a, b := newKey(namespace, "a", twoHeaderSpec(account, "A")), newKey(namespace, "b", twoHeaderSpec(account, "B"))
	w.Issue(t, a, b)
	if out := w.mustAPIKey(t, "list", "-A", "--account", account.Name, "-o", "name"); strings.Count(out, "\n") != 2 {
		t.Errorf("the customer finds %q", out)
	}
	if out := w.mustAPIKey(t, "list", "-A", "--uid", string(b.UID), "-o", "name"); out != "apikey.apikey-manager.io/b\n" {
		t.Errorf("the ID finds %q", out)
	}
	remove := []string{"delete", "-A", "--account", account.Name}
	if out, code := w.apikey(t, remove...); code != 2 || !strings.Contains(out, "--yes") {
		t.Errorf("without an answer to its question it ends with code %d: %s", code, out)
	}
	w.mustAPIKey(t, append(remove, "--yes")...)
	w.AwaitDeleted(t, a)
	w.AwaitDeleted(t, b)
}
