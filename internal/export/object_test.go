// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/internal/export"
)

// TestKept: an entry that the objects hold is kept as it is, also if it would be rendered in another way now. Nothing else is.
func TestKept(t *testing.T) {
	t.Parallel()
	x := compiled(t, nil)
	held, foreign := newEntry(1, "before"), newEntry(2, "")
	objects := export.Objects{}
	for _, w := range x.Place(objects, []export.Entry{held, foreign}).Writes {
		objects.Apply(w)
	}
	rendered, added, other := newEntry(1, "after"), newEntry(3, ""), newEntry(2, "")
	rendered.Name, other.UID = "another-name", "uid-of-another-key"
	kept := objects.Kept([]export.Entry{rendered, added, other})
	if diff := cmp.Diff([]export.Entry{held}, kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	for _, w := range x.Place(objects, kept).Writes {
		if !slices.Equal(w.Withdrawn, []string{foreign.Digest}) || len(w.Items) != 1 {
			t.Errorf("the write is %+v", w)
		}
	}
}
