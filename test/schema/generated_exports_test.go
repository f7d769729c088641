// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode"

	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// leftToCode matches the errors about values that a schema cannot validate: operators of selectors, values of labels,
// templates, and domains that a flag reserves.
var leftToCode = regexp.MustCompile(`^spec\.(accountSelector|namespaceSelector|target\.labels|target\.annotations|entry\.name|entry\.value)\b`)

// lookAtExport compiles a KeyExport that the schema admits, and performs all steps of a reconciliation of one key.
func (w *worker) lookAtExport(t *testing.T, e *v1alpha1.KeyExport, stored crd.Object) {
	t.Helper()
	x, err := export.Compile(e)
	if len(e.Undecodable) > 0 && err == nil {
		t.Errorf("a KeyExport is compiled although %q cannot be decoded", e.Undecodable)
	}
	if err != nil {
		checkSentence(t, err.Error())
		if len(e.Undecodable) == 0 && !leftToCode.MatchString(err.Error()) {
			t.Errorf("the schema admits a value that the code rejects: %v", err)
		}
		return
	}
	material := credential.Material("ak_3kTmR9vWq2Yx_material")
	key := keystest.Key("shop-key", keystest.Issued(generatedNow))
	key.Spec.Account = w.account.Name
	for i := range key.Status.Credentials {
		key.Status.Credentials[i].SHA256 = material.SHA256()
	}
	c := export.Candidate{Key: key, Account: w.account, NamespaceLabels: map[string]string{"team": "shop"}}
	x.Selects(c)
	found := x.Evaluate(c, generatedNow)
	facts := export.Facts{Export: e, Objects: export.Objects{}, Now: generatedNow}
	if found.Withheld != "" {
		facts.Withheld = []export.Withheld{{Key: types.NamespacedName{Namespace: key.Namespace, Name: key.Name}, Reason: found.Withheld}}
	}
	x.Place(facts.Objects, w.entries(t, x, c, material, e.Spec.Content))
	after := export.Describe(facts)
	if stored["status"] == nil { // a generated status was not written by the manager
		w.checkStatus(t, "KeyExport", stored, after)
	}
	facts.Violation = &keys.Violation{Reason: v1alpha1.ReasonTargetConflict, Message: "The object exists"}
	export.Describe(facts)
}

// entries renders the credentials of the key, also those that are not selected.
func (*worker) entries(t *testing.T, x *export.Export, c export.Candidate, material credential.Material, content v1alpha1.ExportContent) []export.Entry {
	t.Helper()
	var entries []export.Entry
	for _, issued := range c.Key.Status.Credentials {
		given := credential.Material(nil)
		if content == v1alpha1.ExportContentKey {
			given = material
		}
		entry, err := x.Render(c, issued, given)
		if err != nil {
			checkSentence(t, err.Error())
			continue
		}
		want := "sha256:" + material.SHA256()
		if content == v1alpha1.ExportContentKey {
			want = string(material)
		}
		if !strings.Contains(string(entry.Value), want) {
			t.Errorf("the value of entry %q does not contain the credential", entry.Name)
		}
		entries = append(entries, entry)
	}
	return entries
}

// checkSentence checks that a message can be published in a condition.
func checkSentence(t *testing.T, message string) {
	t.Helper()
	if len(strings.Fields(message)) < 3 || len(message) > 1024 || strings.ContainsFunc(message, unicode.IsControl) {
		t.Errorf("the message is no sentence: %q", message)
	}
}
