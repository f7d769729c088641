// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	t.Parallel()
	values, err := read([]byte(`# Licence

# The first
# value.
first: 1
group:
  # A list.
  list: [a]
  # Labels of the user.
  podLabels: {a: b}
`))
	want := []value{
		{Name: "first", Default: "`1`", Description: "The first value."},
		{Name: "group.list", Default: "`[\"a\"]`", Description: "A list."},
		{Name: "group.podLabels", Default: "`{\"a\":\"b\"}`", Description: "Labels of the user."},
	}
	if err != nil || cmp.Diff(want, values) != "" {
		t.Errorf("got %v, %s", err, cmp.Diff(want, values))
	}
}

func TestRead_RequiresComments(t *testing.T) {
	t.Parallel()
	if _, err := read([]byte("group:\n  name: x\n")); err == nil || !strings.Contains(err.Error(), "group.name has no comment") {
		t.Errorf("got %v", err)
	}
}
