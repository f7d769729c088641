// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/apikey-manager/apikey-manager/test/flagspage"
)

// TestFlags_AreDocumented compares docs/flags.md with the flags. make docs runs it with -update.
func TestFlags_AreDocumented(t *testing.T) {
	flagspage.Check(t, newCommand())
}
