// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

var epoch = keystest.Epoch

// newExport returns a KeyExport that writes digests into ConfigMaps.
func newExport(change func(*v1alpha1.KeyExportSpec)) *v1alpha1.KeyExport {
	e := &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: "gateway", Name: "partners", UID: "uid-partners", Generation: 1}}
	e.Spec.Target = v1alpha1.ExportTarget{Kind: v1alpha1.ExportToConfigMap, Name: "gateway-keys"}
	if change != nil {
		change(&e.Spec)
	}
	return e
}

// toSecrets makes an export write keys into Secrets.
func toSecrets(s *v1alpha1.KeyExportSpec) {
	s.Content, s.Target.Kind = v1alpha1.ExportContentKey, v1alpha1.ExportToSecret
}

func compiled(t testing.TB, change func(*v1alpha1.KeyExportSpec)) *export.Export {
	t.Helper()
	x, err := export.Compile(newExport(change))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// newCandidate returns an issued key of account acme, which exists.
func newCandidate(name string, options ...keystest.KeyOption) export.Candidate {
	return export.Candidate{
		Key: keystest.Key(name, append(options, keystest.Issued(epoch))...), Account: keystest.NewAccount("acme"), NamespaceLabels: map[string]string{"team": "shop"},
	}
}

// newEntry returns the entry of the only credential of the nth key, which is created n seconds after epoch.
func newEntry(n int, value string) export.Entry {
	digest := fmt.Sprintf("%064x", n)
	id := fmt.Sprintf("id%010d", n)
	return export.Entry{
		Key: types.NamespacedName{Namespace: "default", Name: "key-" + id}, UID: types.UID("uid-" + id), Account: "acme", KeyID: id, Digest: digest,
		CreatedAt: epoch.Add(time.Duration(n) * time.Second), IssuedAt: epoch.Add(time.Duration(n) * time.Second), Name: id, Value: []byte("sha256:" + digest + value),
	}
}

func newEntries(n int) []export.Entry {
	list := make([]export.Entry, n)
	for i := range list {
		list[i] = newEntry(i, "")
	}
	return list
}

// applied returns the objects after the writes of a placement.
func applied(objects export.Objects, p export.Placement) export.Objects {
	after := export.Objects{}
	maps.Copy(after, objects)
	for _, w := range p.Writes {
		after.Apply(w)
	}
	return after
}
