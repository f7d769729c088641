// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"testing"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

func TestFreePort_ReturnsEachPortOnce(t *testing.T) {
	t.Parallel()
	given := map[int]bool{}
	for range 500 {
		port, err := controlplane.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if given[port] {
			t.Fatalf("port %d was given twice", port)
		}
		given[port] = true
	}
}
