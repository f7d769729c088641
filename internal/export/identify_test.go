// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// read returns an object as it was read from the API server.
func read(values map[string]string) export.Object {
	data := map[string][]byte{}
	for name, value := range values {
		data[name] = []byte(value)
	}
	return export.ObjectOf(data, nil)
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	a, b, other := keystest.CredentialOf("a"), keystest.CredentialOf("b"), keystest.CredentialOf("other")
	keyA, keyB := string([]byte(keystest.MaterialOf("a"))), string([]byte(keystest.MaterialOf("b")))
	credentials := map[types.UID][]v1alpha1.Credential{"uid-a": {a}, "uid-b": {b}}
	for name, tt := range map[string]struct {
		spec   func(*v1alpha1.KeyExportSpec)
		values map[string]string
		want   map[string]string
		found  []string
	}{
		"digests": {
			nil,
			map[string]string{"a": "sha256:" + a.SHA256, "b": `{"keyHash":"sha256:` + b.SHA256 + `"}`, "other": "sha256:" + other.SHA256, "text": "sha256:"},
			map[string]string{"a": a.SHA256, "b": b.SHA256, "other": "", "text": ""},
			nil,
		},
		"keys": {
			toSecrets,
			map[string]string{"a": keyA, "b": `{"key":"` + keyB + `"}`, "other": string([]byte(keystest.MaterialOf("other"))), "changed": keyA[:len(keyA)-1] + "!", "digest": "sha256:" + a.SHA256},
			map[string]string{"a": a.SHA256, "b": b.SHA256, "other": "", "changed": "", "digest": ""},
			[]string{a.SHA256, b.SHA256},
		},
		"a key after its hint": {toSecrets, map[string]string{"a": a.Hint + " " + b.Hint + keyA}, map[string]string{"a": a.SHA256}, []string{a.SHA256}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := export.Objects{"gateway-keys": read(tt.values)}
			found := compiled(t, tt.spec).Identify(objects, credentials)
			got := map[string]string{}
			for name, item := range objects["gateway-keys"].Items {
				got[name] = item.Digest
				if (item.UID != "") != (item.Digest != "") || item.UID != "" && credentials[item.UID][0].SHA256 != item.Digest {
					t.Errorf("%s belongs to %q", name, item.UID)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			for _, digest := range tt.found {
				if found[digest].SHA256() != digest {
					t.Errorf("the material of %s is not returned", digest)
				}
			}
			if len(found) != len(tt.found) {
				t.Errorf("%d keys are found", len(found))
			}
		})
	}
}

// Objects that were read from the API server and identified need no write, so that nothing is written when the manager
// starts.
func TestIdentify_AfterRestart(t *testing.T) {
	t.Parallel()
	c := newCandidate("shop")
	for name, spec := range map[string]func(*v1alpha1.KeyExportSpec){"digest": nil, "key": toSecrets, "objects": func(s *v1alpha1.KeyExportSpec) { s.Layout = v1alpha1.ExportLayoutObjects }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := compiled(t, spec)
			e, err := x.Render(c, c.Key.Status.Credentials[0], shopKey)
			if err != nil {
				t.Fatal(err)
			}
			w := x.Place(nil, []export.Entry{e}).Writes[0]
			objects := export.Objects{w.Name: read(map[string]string{e.Name: string([]byte(e.Value))})}
			x.Identify(objects, map[types.UID][]v1alpha1.Credential{c.Key.UID: c.Key.Status.Credentials})
			if diff := cmp.Diff(w.Items, objects[w.Name].Items); diff != "" {
				t.Error("the items differ from those that were written")
			}
			if p := x.Place(objects, []export.Entry{e}); len(p.Writes) > 0 {
				t.Errorf("got %v", summaries(p))
			}
		})
	}
}

// Users choose the hints of imported keys. Hints that occur everywhere make the search neither long nor wrong.
func TestIdentify_HostileHints(t *testing.T) {
	t.Parallel()
	a := keystest.CredentialOf("a")
	var list []v1alpha1.Credential
	for i := range 5000 {
		c := keystest.CredentialOf(fmt.Sprintf("imported-%d", i))
		c.Hint = `"`
		list = append(list, c)
	}
	values := map[string]string{"hostile": strings.Repeat(`"`, 10_000), "a": string([]byte(keystest.MaterialOf("a")))}
	objects := export.Objects{"gateway-keys": read(values)}
	found := compiled(t, toSecrets).Identify(objects, map[types.UID][]v1alpha1.Credential{"uid-x": list, "uid-a": {a}})
	if len(found) != 1 || objects["gateway-keys"].Items["a"].UID != "uid-a" {
		t.Errorf("%d keys are found", len(found))
	}
}
