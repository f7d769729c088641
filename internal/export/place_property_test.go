// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
)

// maxObject is the size that no object may exceed.
const maxObject = 900 << 10

// padding makes values so long that an object holds few of them.
var padding = []string{strings.Repeat("a", 12<<10), strings.Repeat("b", 15<<10), strings.Repeat("c", 9<<10), ""}

// drawEntries draws the desired entries. Different credentials may get the same name, one after another or at a time.
func drawEntries(t *rapid.T, most int) []export.Entry {
	names := rapid.SampledFrom([]string{"id", "renamed", "shared", "permuted"}).Draw(t, "names")
	percent := rapid.IntRange(0, 100).Draw(t, "percent")
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	permutation := random.Perm(most)
	var list []export.Entry
	for n := range most {
		if random.IntN(100) >= percent {
			continue
		}
		e := newEntry(n+1, padding[random.IntN(len(padding))])
		e.Digest = fmt.Sprintf("%016x", n+1) + e.Digest[16:] // the names of objects differ
		e.Value = []byte("sha256:" + e.Digest + string([]byte(e.Value)[71:]))
		switch names {
		case "renamed":
			e.Name = "renamed-" + e.Name
		case "shared":
			e.Name = fmt.Sprintf("shared-%d", random.IntN(most))
		case "permuted":
			e.Name = fmt.Sprintf("shared-%d", permutation[n])
		}
		list = append(list, e)
	}
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// checkUnique fails if a name or a credential is in two objects.
func checkUnique(t *rapid.T, objects export.Objects, layout v1alpha1.ExportLayout) {
	names, digests := map[string]string{}, map[string]string{}
	for object, o := range objects {
		for name, item := range o.Items {
			if other, exists := names[name]; exists && layout == v1alpha1.ExportLayoutEntries {
				t.Fatalf("%s is in %s and %s", name, object, other)
			}
			if other, exists := digests[item.Digest]; exists {
				t.Fatalf("%s is in %s and %s", item.Digest, object, other)
			}
			names[name], digests[item.Digest] = object, object
		}
	}
}

// perform performs the writes of a placement, of which some fail, as a controller does.
func perform(t *rapid.T, objects export.Objects, p export.Placement, layout v1alpha1.ExportLayout, mayFail bool) export.Objects {
	after := maps.Clone(objects)
	failed := map[string]bool{}
	for _, w := range p.Writes {
		if mayFail && rapid.IntRange(0, 3).Draw(t, "fails") == 0 || failed[w.Name] || slices.ContainsFunc(w.After, func(name string) bool { return failed[name] }) {
			failed[w.Name] = true
			continue
		}
		after.Apply(w)
		checkUnique(t, after, layout)
	}
	return after
}

// contentOf returns the values of all items by name, and digests.
func contentOf(objects export.Objects) (values map[string]string, digests []string) {
	values = map[string]string{}
	for _, o := range objects {
		for name, item := range o.Items {
			values[name+" "+item.Digest] = string([]byte(item.Value))
			digests = append(digests, item.Digest)
		}
	}
	slices.Sort(digests)
	return values, digests
}

// expected returns the values that the objects must hold, apart from entries that are withheld.
func expected(desired []export.Entry, p export.Placement, layout v1alpha1.ExportLayout) map[string]string {
	sorted := slices.Clone(desired)
	slices.SortFunc(sorted, func(a, b export.Entry) int { return a.CreatedAt.Compare(b.CreatedAt) })
	values, names := map[string]string{}, map[string]bool{}
	for _, e := range sorted {
		if names[e.Name] && layout == v1alpha1.ExportLayoutEntries {
			continue
		}
		names[e.Name] = true
		values[e.Name+" "+e.Digest] = string([]byte(e.Value))
	}
	return values
}

// TestPlace_Histories draws histories of desired entries, of which some writes fail. After each write, no name and no
// credential is in two objects. After all writes of a step, the objects hold exactly the desired entries, no object is too
// large, and nothing is left to write. Exchanged names, for which an object is written twice, are rare in these histories:
// TestPlace_Entries covers them.
func TestPlace_Histories(t *testing.T) {
	t.Parallel()
	for _, layout := range []v1alpha1.ExportLayout{v1alpha1.ExportLayoutEntries, v1alpha1.ExportLayoutObjects} {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				x := compiledFor(layout)
				objects := export.Objects{}
				for range rapid.IntRange(1, 5).Draw(t, "steps") {
					desired := drawEntries(t, 150)
					objects = perform(t, objects, x.Place(objects, desired), layout, true)
					before := maps.Clone(objects)
					p := x.Place(objects, desired)
					objects = perform(t, objects, p, layout, false)
					checkPlaced(t, x, before, objects, desired, p, layout)
				}
			})
		})
	}
}

// compiledFor returns an export of digests with annotations, which take up room, into Secrets.
func compiledFor(layout v1alpha1.ExportLayout) *export.Export {
	x, err := export.Compile(newExport(func(s *v1alpha1.KeyExportSpec) {
		s.Layout, s.Target.Kind = layout, v1alpha1.ExportToSecret
		s.Target.Annotations = map[string]string{"example.com/note": strings.Repeat("<", 4096)}
	}))
	if err != nil {
		panic(err)
	}
	return x
}

func checkPlaced(t *rapid.T, x *export.Export, before, after export.Objects, desired []export.Entry, p export.Placement, layout v1alpha1.ExportLayout) {
	values, digests := contentOf(after)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(expected(desired, p, layout))), slices.Sorted(maps.Keys(values))); diff != "" {
		t.Fatalf("wrong entries: %s", diff)
	}
	if !maps.Equal(expected(desired, p, layout), values) {
		t.Fatal("wrong values")
	}
	if len(desired)-len(values) != len(p.Withheld) {
		t.Fatalf("%d entries of %d are placed, and %d withheld", len(values), len(desired), len(p.Withheld))
	}
	_, were := contentOf(before)
	var withdrawn, gone []string
	for _, w := range p.Writes {
		withdrawn = append(withdrawn, w.Withdrawn...)
	}
	for _, digest := range were {
		if !slices.Contains(digests, digest) {
			gone = append(gone, digest)
		}
	}
	slices.Sort(withdrawn)
	if !slices.Equal(withdrawn, gone) {
		t.Fatalf("withdrawn are %v, and the writes say %v", gone, withdrawn)
	}
	if _, exists := after["gateway-keys"]; exists != (layout == v1alpha1.ExportLayoutEntries) {
		t.Fatalf("object gateway-keys exists: %t", exists)
	}
	if again := x.Place(after, desired); len(again.Writes) > 0 {
		t.Fatalf("a second time: %d writes", len(again.Writes))
	}
	for name, o := range after {
		if size := sizeOf(x, name, o); size > maxObject {
			t.Fatalf("%s has %d bytes", name, size)
		}
	}
}

// sizeOf returns the size of the JSON of a Secret that holds these items, with managedFields.
func sizeOf(x *export.Export, name string, o export.Object) int {
	secret := &corev1.Secret{Data: map[string][]byte{}}
	content := x.Content(export.Write{Name: name, Items: o.Items})
	secret.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	secret.Name, secret.Namespace, secret.UID = name, strings.Repeat("n", 63), "00000000-0000-4000-8000-000000000000"
	secret.Labels, secret.Annotations, secret.Type = content.Labels, content.Annotations, corev1.SecretType(content.Type)
	fields := map[string]any{"f:type": struct{}{}, "f:metadata": map[string]any{"f:labels": fieldsOf(content.Labels), "f:annotations": fieldsOf(content.Annotations)}}
	for entry, value := range content.Data {
		secret.Data[entry] = value
	}
	fields["f:data"] = fieldsOf(secret.Data)
	raw, _ := json.Marshal(fields)
	secret.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "apikey-manager", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(raw))}}
	text, err := json.Marshal(secret)
	if err != nil {
		panic(err)
	}
	return len(text)
}

func fieldsOf[V any](m map[string]V) map[string]any {
	fields := map[string]any{}
	for name := range m {
		fields["f:"+name] = struct{}{}
	}
	return fields
}

// TestPlace_OneChange draws entries in several objects and one change: one credential more, one less, or another value.
// It needs one write.
func TestPlace_OneChange(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		x, most := compiledFor(v1alpha1.ExportLayoutEntries), rapid.IntRange(1, 150).Draw(t, "entries")
		var entries []export.Entry
		for n := range most {
			entries = append(entries, newEntry(n, padding[n%len(padding)]))
		}
		objects := applied(nil, x.Place(nil, entries))
		n := rapid.IntRange(0, most-1).Draw(t, "changed")
		changed := slices.Clone(entries)
		switch rapid.IntRange(0, 2).Draw(t, "change") {
		case 0:
			changed = slices.Delete(changed, n, n+1)
		case 1:
			changed = append(changed, newEntry(most, padding[0]))
		case 2:
			changed[n].Value = append(slices.Clone(changed[n].Value[:len(changed[n].Value)-1]), '!')
		}
		permuted := rapid.Permutation(changed).Draw(t, "order")
		p := x.Place(objects, permuted)
		if len(p.Writes) != 1 || len(p.Writes[0].After) != 0 {
			t.Fatalf("got %d writes", len(p.Writes))
		}
		if diff := cmp.Diff(names(x.Place(objects, changed)), names(p)); diff != "" {
			t.Fatalf("the order of the entries matters: %s", diff)
		}
	})
}

// names returns the objects and the entries that the writes of a placement write.
func names(p export.Placement) map[string][]string {
	list := map[string][]string{}
	for _, w := range p.Writes {
		list[w.Name] = slices.Sorted(maps.Keys(w.Items))
	}
	return list
}
