// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

const manyKeys = 10_000

func manyCandidates(options ...keystest.KeyOption) []export.Candidate {
	list := make([]export.Candidate, manyKeys)
	accounts := make([]*v1alpha1.Account, 100)
	for i := range accounts {
		accounts[i] = keystest.NewAccount(fmt.Sprintf("acme-%d", i))
	}
	for i := range list {
		a := accounts[i%len(accounts)]
		list[i] = newCandidate(fmt.Sprintf("key-%d", i), append(options, keystest.Account(a.Name))...)
		list[i].Account = a
	}
	return list
}

func BenchmarkEvaluate(b *testing.B) {
	for name, options := range map[string][]keystest.KeyOption{
		"plain": nil, "expiring": {keystest.Expiration("2027-01-01T00:00:00Z")}, "expiring by date": {keystest.Expiration("2027-01-01")},
	} {
		b.Run(name, func(b *testing.B) {
			candidates, x := manyCandidates(options...), compiled(b, nil)
			b.ReportAllocs()
			for b.Loop() {
				for i := range candidates {
					if len(x.Evaluate(candidates[i], epoch).Credentials) != 1 {
						b.Fatal("not exported")
					}
				}
			}
		})
	}
}

func BenchmarkFindSharedDigests(b *testing.B) {
	var all []*v1alpha1.APIKey
	for _, c := range manyCandidates() {
		all = append(all, c.Key)
	}
	b.ReportAllocs()
	for b.Loop() {
		keys.FindSharedDigests(all)
	}
}

func BenchmarkRender(b *testing.B) {
	for name, value := range map[string]string{
		"default": "", "JSON": `{"keyHash": {{ quote .Digest }}, "metadata": {"account": {{ quote .Account }}, "plan": {{ quote .Plan }}}}`,
	} {
		b.Run(name, func(b *testing.B) {
			x := compiled(b, func(s *v1alpha1.KeyExportSpec) { s.Entry = &v1alpha1.ExportEntry{Name: "{{ .KeyID }}", Value: value} })
			c := newCandidate("shop")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := x.Render(c, c.Key.Status.Credentials[0], nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPlace(b *testing.B) {
	for _, layout := range []v1alpha1.ExportLayout{v1alpha1.ExportLayoutEntries, v1alpha1.ExportLayoutObjects} {
		x := compiled(b, func(s *v1alpha1.KeyExportSpec) { s.Layout = layout })
		entries := newEntries(manyKeys)
		for i := range entries {
			entries[i].Digest = keystest.CredentialOf(entries[i].Name).SHA256 // the names of objects must differ
		}
		current := applied(nil, x.Place(nil, entries))
		b.Run(string(layout)+"/no change", func(b *testing.B) { benchmarkPlace(b, x, current, entries, 0) })
		b.Run(string(layout)+"/one withdrawn", func(b *testing.B) {
			benchmarkPlace(b, x, current, slices.Delete(slices.Clone(entries), 4711, 4712), 1)
		})
	}
}

func benchmarkPlace(b *testing.B, x *export.Export, current export.Objects, entries []export.Entry, writes int) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		if p := x.Place(current, entries); len(p.Writes) != writes {
			b.Fatalf("got %d writes", len(p.Writes))
		}
	}
}

func BenchmarkDescribe(b *testing.B) {
	x := compiled(b, nil)
	objects := applied(nil, x.Place(nil, newEntries(manyKeys)))
	e := newExport(nil)
	b.ReportAllocs()
	for b.Loop() {
		export.Describe(export.Facts{Export: e, Objects: objects, Now: epoch})
	}
}

// TestMemory_PerKey measures what a controller keeps for each key of an export of digests: the rendered entry and the
// item in the object.
func TestMemory_PerKey(t *testing.T) { //nolint:paralleltest // it measures the heap
	const limit = 1 << 10
	x, candidates := compiled(t, nil), manyCandidates()
	before := heap()
	entries := make([]export.Entry, len(candidates))
	for i, c := range candidates {
		entry, err := x.Render(c, c.Key.Status.Credentials[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		entries[i] = entry
	}
	objects := applied(nil, x.Place(nil, entries))
	perKey := int(heap()-before) / len(candidates)
	t.Logf("%d bytes for each of %d keys", perKey, len(candidates))
	if perKey > limit {
		t.Errorf("%d bytes for each key, and at most %d are allowed", perKey, limit)
	}
	runtime.KeepAlive(objects)
	runtime.KeepAlive(entries)
	runtime.KeepAlive(candidates)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
