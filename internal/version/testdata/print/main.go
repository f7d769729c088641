// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command print prints its version, for a test of LDFLAGS in the Makefile.
package main

import (
	"fmt"

	"github.com/apikey-manager/apikey-manager/internal/version"
)

func main() { fmt.Println(version.Get()) }
