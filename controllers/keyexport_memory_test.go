// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// TestKeyExport_MemoryPerKey bounds what the manager remembers of an export for each key: the entry as it was rendered and as the
// object holds it, and the version of the key. It runs alone, because it measures the heap.
func TestKeyExport_MemoryPerKey(t *testing.T) { //nolint:paralleltest // see above
	const count, most = 2000, 1 << 10
	w := newExportFixture(t, newExport(exportName))
	for i := range count {
		w.add(keystest.Key(fmt.Sprintf("key-%04d", i), keystest.Issued(at(0))))
	}
	w.mustExport()
	w.mustExport()
	if n := len(w.exported()); n < count {
		t.Fatalf("the export holds %d credentials", n)
	}
	with := heapInUse()
	w.exports.states = exportStates{}
	perKey := (with - heapInUse()) / count
	t.Logf("%d bytes for each key", perKey)
	if perKey < 100 || perKey > most {
		t.Errorf("%d bytes for each key, want at most %d", perKey, most)
	}
	runtime.KeepAlive(w)
}

// heapInUse returns the bytes of the objects that can be reached.
func heapInUse() int64 {
	var stats runtime.MemStats
	for range 2 { // the first collection may leave objects with finalizers, and pools
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
