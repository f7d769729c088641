// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
)

// summary describes a write in one line.
func summary(w export.Write) string {
	text := w.Name + " " + strings.Join(slices.Sorted(maps.Keys(w.Items)), ",")
	if w.Delete {
		text = w.Name + " deleted"
	}
	if len(w.After) > 0 {
		text += " after " + strings.Join(w.After, ",")
	}
	if len(w.Withdrawn) > 0 {
		text += fmt.Sprintf(" withdraws %d", len(w.Withdrawn))
	}
	return text
}

func summaries(p export.Placement) []string {
	var list []string
	for _, w := range p.Writes {
		list = append(list, summary(w))
	}
	return list
}

// named returns an entry with another name.
func named(e export.Entry, name string) export.Entry {
	e.Name = name
	return e
}

// object returns an object that holds these entries.
func object(entries ...export.Entry) export.Object {
	o := export.Object{Items: map[string]export.Item{}}
	for _, e := range entries {
		o.Items[e.Name] = export.Item{Value: e.Value, Digest: e.Digest, UID: e.UID}
	}
	return o
}

func TestPlace_Entries(t *testing.T) {
	t.Parallel()
	a, b, c := newEntry(1, ""), newEntry(2, ""), newEntry(3, "")
	for name, tt := range map[string]struct {
		current export.Objects
		desired []export.Entry
		want    []string
	}{
		"the first object exists without entries": {nil, nil, []string{"gateway-keys "}},
		"the first object stays without entries":  {export.Objects{"gateway-keys": object(a)}, nil, []string{"gateway-keys  withdraws 1"}},
		"nothing to do":                           {export.Objects{"gateway-keys": object(a)}, []export.Entry{a}, nil},
		"a new entry":                             {export.Objects{"gateway-keys": object(a)}, []export.Entry{b, a}, []string{"gateway-keys id0000000001,id0000000002"}},
		"entries stay where they are":             {export.Objects{"gateway-keys": object(a), "gateway-keys-1": object(b)}, []export.Entry{a, b}, nil},
		"an object without entries is deleted": {
			export.Objects{"gateway-keys": object(a), "gateway-keys-1": object(b)}, []export.Entry{a}, []string{"gateway-keys-1 deleted withdraws 1"},
		},
		"objects of other names are deleted": {
			export.Objects{"gateway-keys": object(a), "gateway-keys-01": object(a), "gateway-keys-999": object(b), "copy": object(c)},
			[]export.Entry{a, b},
			[]string{"copy deleted withdraws 1", "gateway-keys-01 deleted", "gateway-keys-999 deleted", "gateway-keys id0000000001,id0000000002 after gateway-keys-999"},
		},
		"withdrawals come first": {
			export.Objects{"gateway-keys": object(a), "gateway-keys-1": object(b, c)},
			[]export.Entry{a, b, newEntry(4, "")},
			[]string{"gateway-keys-1 id0000000002 withdraws 1", "gateway-keys id0000000001,id0000000004"},
		},
		"a name that is used again": {
			export.Objects{"gateway-keys": object(a), "gateway-keys-1": object(named(b, "x"))},
			[]export.Entry{named(a, "x")},
			[]string{"gateway-keys ", "gateway-keys-1 x after gateway-keys withdraws 1"},
		},
		"exchanged names": {
			export.Objects{"gateway-keys": object(named(a, "x"), c), "gateway-keys-1": object(named(b, "y"))},
			[]export.Entry{named(a, "y"), named(b, "x"), c},
			[]string{"gateway-keys id0000000003", "gateway-keys-1 y after gateway-keys", "gateway-keys id0000000003,x after gateway-keys-1"},
		},
		"a copied entry": {
			export.Objects{"gateway-keys": object(named(b, a.Name)), "gateway-keys-1": object(a)}, []export.Entry{a}, []string{"gateway-keys  withdraws 1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := compiled(t, nil)
			got := x.Place(tt.current, tt.desired)
			if diff := cmp.Diff(tt.want, summaries(got)); diff != "" {
				t.Error(diff)
			}
			if again := x.Place(applied(tt.current, got), tt.desired); len(again.Writes) > 0 {
				t.Errorf("a second time: %v", summaries(again))
			}
		})
	}
}

func TestPlace_Objects(t *testing.T) {
	t.Parallel()
	entry := func(n int) export.Entry {
		e := newEntry(n, "")
		e.Digest = fmt.Sprintf("%016x", n) + e.Digest[16:]
		return named(e, "api-key")
	}
	a, b, c := entry(1), entry(2), entry(3)
	const prefix = "gateway-keys-000000000000000"
	changed := named(b, "api_key")
	for name, tt := range map[string]struct {
		current export.Objects
		desired []export.Entry
		want    []string
	}{
		"nothing":        {nil, nil, nil},
		"creation":       {nil, []export.Entry{b, a}, []string{prefix + "1 api-key", prefix + "2 api-key"}},
		"nothing to do":  {export.Objects{prefix + "1": object(a)}, []export.Entry{a}, nil},
		"another name":   {export.Objects{prefix + "2": object(b)}, []export.Entry{changed}, []string{prefix + "2 api_key"}},
		"too many items": {export.Objects{prefix + "2": object(b, named(a, "x"))}, []export.Entry{b}, []string{prefix + "2 api-key withdraws 1"}},
		"deletions first": {
			export.Objects{prefix + "1": object(a), prefix + "2": object(b), "gateway-keys": object()},
			[]export.Entry{changed, c},
			[]string{"gateway-keys deleted", prefix + "1 deleted withdraws 1", prefix + "2 api_key", prefix + "3 api-key"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := compiled(t, func(s *v1alpha1.KeyExportSpec) { s.Layout = v1alpha1.ExportLayoutObjects })
			if diff := cmp.Diff(tt.want, summaries(x.Place(tt.current, tt.desired))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A change of the template of names leaves each entry in its object.
func TestPlace_RenamedEntriesStay(t *testing.T) {
	t.Parallel()
	x := compiledFor(v1alpha1.ExportLayoutEntries)
	var entries []export.Entry
	for n := range 200 {
		entries = append(entries, newEntry(n, padding[n%2]))
	}
	objects := applied(nil, x.Place(nil, entries[100:]))
	objects = applied(objects, x.Place(objects, entries))
	if len(objects) < 3 {
		t.Fatalf("there are %d objects", len(objects))
	}
	for i := range entries {
		entries[i].Name = fmt.Sprintf("x-%d", i)
	}
	p := x.Place(objects, entries)
	if len(p.Writes) != len(objects) {
		t.Errorf("got %v", summaries(p))
	}
	for _, w := range p.Writes {
		if len(w.After) > 0 || len(w.Items) != len(objects[w.Name].Items) {
			t.Errorf("%s: entries move", w.Name)
		}
	}
}

// An entry that outgrows its object moves to another, and the others stay. So does another credential that gets the name.
func TestPlace_GrownEntryMoves(t *testing.T) {
	t.Parallel()
	x := compiledFor(v1alpha1.ExportLayoutEntries)
	entries := make([]export.Entry, 54) // as many as fit into an object
	for i := range entries {
		entries[i] = newEntry(i, padding[0])
	}
	objects := export.Objects{"gateway-keys": object(entries...)}
	if p := x.Place(objects, entries); len(p.Writes) != 0 {
		t.Fatalf("the entries do not fit: %v", summaries(p))
	}
	for name, grown := range map[string]export.Entry{
		"the same credential": newEntry(0, padding[0]+padding[0][:3<<10]), "another credential": named(newEntry(99, padding[0]+padding[0][:3<<10]), entries[0].Name),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := x.Place(objects, append([]export.Entry{grown}, entries[1:]...))
			if len(p.Writes) != 2 {
				t.Fatalf("got %d writes", len(p.Writes))
			}
			from, to := p.Writes[0], p.Writes[1]
			if from.Name != "gateway-keys" || len(from.Items) != len(objects[from.Name].Items)-1 {
				t.Errorf("first %s with %d items", from.Name, len(from.Items))
			}
			if to.Name != "gateway-keys-1" || to.Items[grown.Name].Digest != grown.Digest || !slices.Equal(to.After, []string{from.Name}) {
				t.Errorf("then %s after %v, with %s", to.Name, to.After, to.Items[grown.Name].Digest)
			}
		})
	}
}

func TestPlace_Duplicates(t *testing.T) {
	t.Parallel()
	a, b, c := newEntry(1, ""), newEntry(2, ""), newEntry(3, "")
	sameDigest := newEntry(4, "")
	sameDigest.Digest = a.Digest
	x := compiled(t, nil)
	p := x.Place(nil, []export.Entry{named(c, "x"), sameDigest, named(b, "x"), a})
	want := []export.Withheld{{Key: c.Key, Reason: v1alpha1.ReasonDuplicateEntry}, {Key: sameDigest.Key, Reason: v1alpha1.ReasonDuplicateEntry}}
	if diff := cmp.Diff(want, p.Withheld); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"gateway-keys id0000000001,x"}, summaries(p)); diff != "" {
		t.Error(diff)
	}
	if p.Writes[0].Items["x"].Digest != b.Digest {
		t.Error("the younger key has the name")
	}
}

// A key that was created later and has the same name in its template must not get the entry when the older one is rotated.
func TestPlace_RotatedKeyKeepsItsName(t *testing.T) {
	t.Parallel()
	x := compiled(t, nil)
	before, other := named(newEntry(1, ""), "shop"), named(newEntry(2, ""), "shop")
	rotated := named(newEntry(3, ""), "shop")
	rotated.Key, rotated.UID, rotated.CreatedAt = before.Key, before.UID, before.CreatedAt
	objects := applied(nil, x.Place(nil, []export.Entry{other, before}))
	for what, desired := range map[string][]export.Entry{
		"during the overlap": {other, rotated, before},
		"after the overlap":  {other, rotated},
	} {
		p := x.Place(objects, desired)
		for _, o := range applied(objects, p) {
			if got := o.Items["shop"]; got.UID != before.UID {
				t.Errorf("%s, the entry is that of %s", what, got.UID)
			}
		}
		if last := p.Withheld[len(p.Withheld)-1]; last.Key != other.Key {
			t.Errorf("%s, withheld: %v", what, p.Withheld)
		}
	}
}

// Two digests with the same first digits would need the same object.
func TestPlace_SameObjectName(t *testing.T) {
	t.Parallel()
	x := compiled(t, func(s *v1alpha1.KeyExportSpec) { s.Layout = v1alpha1.ExportLayoutObjects })
	p := x.Place(nil, []export.Entry{newEntry(2, ""), newEntry(1, "")})
	if diff := cmp.Diff([]export.Withheld{{Key: newEntry(2, "").Key, Reason: v1alpha1.ReasonDuplicateEntry}}, p.Withheld); diff != "" || len(p.Writes) != 1 {
		t.Errorf("%s %v", diff, summaries(p))
	}
}

// Objects stay small, so that a change of an entry writes little. They grow when there are 64 of them.
func TestPlace_PreferredSize(t *testing.T) {
	t.Parallel()
	const preferred = 256 << 10
	long := strings.Repeat(" ", 300)
	for name, tt := range map[string]struct {
		entries, objects int
		value            string
		grown            bool
	}{
		"few":                   {1900, 1, "", false},
		"more":                  {20_000, 11, "", false},
		"as many as stay small": {30_000, 63, long, false},
		"many":                  {40_000, 64, long, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, desired := compiled(t, nil), make([]export.Entry, tt.entries)
			for i := range desired {
				desired[i] = newEntry(i, tt.value)
			}
			p := x.Place(nil, desired)
			objects, largest := applied(nil, p), 0
			for name, o := range objects {
				largest = max(largest, sizeOf(x, name, o))
			}
			if len(objects) != tt.objects || len(p.Withheld) != 0 || largest > preferred != tt.grown || largest > maxObject {
				t.Errorf("%d objects, the largest of %d bytes, without %d entries", len(objects), largest, len(p.Withheld))
			}
		})
	}
}

// Beyond the limits, the youngest credentials are withheld.
func TestPlace_Full(t *testing.T) {
	t.Parallel()
	for layout, limit := range map[v1alpha1.ExportLayout]int{v1alpha1.ExportLayoutEntries: 100_000, v1alpha1.ExportLayoutObjects: 10_000} {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			x := compiled(t, func(s *v1alpha1.KeyExportSpec) { s.Layout = layout })
			entries := newEntries(limit + 2)
			for i := range entries {
				entries[i].Digest = fmt.Sprintf("%016x", i) + entries[i].Digest[16:]
			}
			slices.Reverse(entries)
			p := x.Place(nil, entries)
			want := []export.Withheld{{Key: entries[1].Key, Reason: v1alpha1.ReasonExportFull}, {Key: entries[0].Key, Reason: v1alpha1.ReasonExportFull}}
			if diff := cmp.Diff(want, p.Withheld); diff != "" {
				t.Error(diff)
			}
			placed := 0
			for _, w := range p.Writes {
				placed += len(w.Items)
			}
			if placed != limit {
				t.Errorf("%d entries are placed", placed)
			}
		})
	}
}

// Long values fill the objects that an export may have.
func TestPlace_TooManyObjects(t *testing.T) {
	t.Parallel()
	x := compiledFor(v1alpha1.ExportLayoutEntries)
	entries := newEntries(256*42 + 100)
	for i := range entries {
		entries[i].Value = []byte(strings.Repeat("x", 16<<10))
	}
	p := x.Place(nil, entries)
	if len(p.Writes) != 256 || len(p.Withheld) == 0 || p.Withheld[0].Reason != v1alpha1.ReasonExportFull {
		t.Errorf("%d objects, %d keys are withheld", len(p.Writes), len(p.Withheld))
	}
}

// Drift of the metadata is repaired, and labels of other clients stay.
func TestPlace_Metadata(t *testing.T) {
	t.Parallel()
	x := compiled(t, func(s *v1alpha1.KeyExportSpec) {
		s.Target.Labels = map[string]string{"example.com/team": "a"}
	})
	e := newEntry(1, "")
	written := x.Content(x.Place(nil, []export.Entry{e}).Writes[0])
	for name, tt := range map[string]struct {
		change func(*metav1.ObjectMeta)
		writes int
	}{
		"none":                    {func(*metav1.ObjectMeta) {}, 0},
		"label of another client": {func(m *metav1.ObjectMeta) { m.Labels["example.org/x"] = "y" }, 0},
		"label removed":           {func(m *metav1.ObjectMeta) { delete(m.Labels, "example.com/team") }, 1},
		"managed-by changed":      {func(m *metav1.ObjectMeta) { m.Labels["app.kubernetes.io/managed-by"] = "x" }, 1},
		"annotation changed":      {func(m *metav1.ObjectMeta) { m.Annotations[export.AnnotationKeyExport] = "x" }, 1},
		"label of a former target": {func(m *metav1.ObjectMeta) {
			m.Labels["example.com/old"] = "x"
			m.Annotations["apikey-manager.io/template-metadata"] = `{"labels":["example.com/old","example.com/team"]}`
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &metav1.ObjectMeta{Labels: maps.Clone(written.Labels), Annotations: maps.Clone(written.Annotations)}
			tt.change(m)
			o := object(e)
			o.Metadata = m
			p := x.Place(export.Objects{"gateway-keys": o}, []export.Entry{e})
			if len(p.Writes) != tt.writes {
				t.Fatalf("got %v", summaries(p))
			}
			if tt.writes == 0 {
				return
			}
			labels, annotations := x.Content(p.Writes[0]).Metadata(m)
			if diff := cmp.Diff(written.Labels, labels) + cmp.Diff(written.Annotations, annotations); diff != "" {
				t.Error(diff)
			}
		})
	}
	o := object(e)
	o.Drifted = true
	if p := x.Place(export.Objects{"gateway-keys": o}, []export.Entry{e}); len(p.Writes) != 1 {
		t.Error("another drift is not repaired")
	}
}
