// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// exporter holds the objects of a KeyExport, and writes them as the controller does.
type exporter struct {
	spec    v1alpha1.KeyExportSpec
	export  *export.Export
	current export.Objects
	objects map[string]object
}

// newExporter compiles the KeyExport of a sample as the API server returns it.
func newExporter(t *testing.T, s sample) *exporter {
	t.Helper()
	kinds, err := crd.Load(root(t))
	if err != nil {
		t.Fatal(err)
	}
	stored, errs := kinds["KeyExport"].Create(t.Context(), s.export)
	if len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	e := &v1alpha1.KeyExport{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(stored, e); err != nil {
		t.Fatal(err)
	}
	compiled, err := export.Compile(e)
	if err != nil {
		t.Fatal(err)
	}
	return &exporter{spec: e.Spec, export: compiled, current: export.Objects{}, objects: map[string]object{}}
}

// entries returns the entries of all credentials that the export may hold.
func (x *exporter) entries(t *testing.T, s *keySet, at time.Time) []export.Entry {
	t.Helper()
	var entries []export.Entry
	for _, c := range s.candidates() {
		for _, issued := range x.export.Evaluate(c, at).Credentials {
			material := s.materials[issued.SHA256]
			if x.spec.Content != v1alpha1.ExportContentKey {
				material = nil
			}
			entry, err := x.export.Render(c, issued, material)
			if err != nil {
				t.Errorf("the entry of key %s/%s is withheld: %v", c.Key.Namespace, c.Key.Name, err)
				continue
			}
			entries = append(entries, entry)
		}
	}
	return entries
}

// sync performs the writes after which the objects hold what they should, and calls check after each of them.
func (x *exporter) sync(t *testing.T, s *keySet, at time.Time, check func()) {
	t.Helper()
	placement := x.export.Place(x.current, x.entries(t, s, at))
	for _, withheld := range placement.Withheld {
		t.Errorf("key %s is withheld: %s", withheld.Key, withheld.Reason)
	}
	for _, w := range placement.Writes {
		x.current.Apply(w)
		if delete(x.objects, w.Name); !w.Delete {
			x.objects[w.Name] = x.objectOf(w.Name, x.export.Content(w))
		}
		check()
	}
}

func (x *exporter) objectOf(name string, c export.Content) object {
	o := object{
		kind: string(x.spec.Target.Kind), namespace: namespace, name: name, secretType: c.Type,
		labels: c.Labels, annotations: c.Annotations, data: data{},
	}
	for entry, value := range c.Data {
		o.data[entry] = string(value)
	}
	return o
}

// list returns the objects, sorted by name.
func (x *exporter) list() []object {
	var found []object
	for _, name := range slices.Sorted(maps.Keys(x.objects)) {
		found = append(found, x.objects[name])
	}
	return found
}
