// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const storedKey = `apiVersion: apikey-manager.io/v1alpha1
kind: APIKey
metadata:
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: "{}"
    team: shop
  creationTimestamp: "2026-11-28T12:00:00Z"
  generation: 3
  labels:
    app: shop
  managedFields:
  - manager: kubectl
  name: shop
  namespace: default
  ownerReferences:
  - apiVersion: v1
    kind: ConfigMap
    name: owner
    uid: 00000000-0000-4000-8000-000000000000
  resourceVersion: "7"
  uid: 00000000-0000-4000-8000-000000000001
spec:
  account: acme
  fieldOfALaterVersion: 12345678901234567
status:
  keyID: v1ReF6fIcrOF
`

const exportedKey = `---
apiVersion: apikey-manager.io/v1alpha1
kind: APIKey
metadata:
  annotations:
    team: shop
  labels:
    app: shop
  name: shop
  namespace: default
spec:
  account: acme
  fieldOfALaterVersion: 12345678901234567
status:
  keyID: v1ReF6fIcrOF
`

func readDocuments(text string) (list []*unstructured.Unstructured, err error) {
	err = eachDocument(strings.NewReader(text), func(object *unstructured.Unstructured) error { list = append(list, object); return nil })
	return list, err
}

func TestWriteDocument_LeavesOutServerFields(t *testing.T) {
	t.Parallel()
	list, err := readDocuments(storedKey)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d documents, %v", len(list), err)
	}
	var out bytes.Buffer
	if err := writeDocument(&out, withoutServerFields(list[0])); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(exportedKey, out.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	out.Reset()
	if err := writeDocument(&out, withoutServerFields(list[0], "status")); err != nil || strings.Contains(out.String(), "status") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestEachDocument(t *testing.T) {
	t.Parallel()
	const secretText = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
	for name, tc := range map[string]struct {
		text, wantError string
		want            int
	}{
		"two, with comments":      {"# a backup\n---\n" + secretText + "---\n# nothing\n---\n" + secretText + "...\n", "", 2},
		"nothing":                 {"", "", 0},
		"another kind":            {"---\n" + secretText + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\n", "document 2 is none of the kinds", 1},
		"no name":                 {"apiVersion: v1\nkind: Secret\n", "document 1 is a Secret without a name", 0},
		"no YAML":                 {secretText + "a: {\n", "document 1 is not YAML", 0},
		"a field twice":           {secretText + "kind: Secret\n", "document 1 is not YAML", 0},
		"no object":               {"- " + secretKey, "document 1 is not an object", 0},
		"a document that is long": {strings.Repeat("a: b\n", maxDocument/5+1), "document 1 is longer", 0},
		"a line that is long":     {strings.Repeat("a", maxDocument+1), "read document 1", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, err := readDocuments(tc.text)
			if len(list) != tc.want {
				t.Errorf("%d documents, want %d", len(list), tc.want)
			}
			if (tc.wantError == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), tc.wantError) || strings.Contains(err.Error(), secretKey)) {
				t.Errorf("got %v, want %q", err, tc.wantError)
			}
		})
	}
}
