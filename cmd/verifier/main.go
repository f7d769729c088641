// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command verifier is the door of apikey-manager: gateways and applications ask it whether a request's key is good.
package main

import (
	"fmt"
	"os"
	// Accounts name IANA time zones; the image has no zone files.
	_ "time/tzdata"

	ctrl "sigs.k8s.io/controller-runtime"
)

// version is set by the linker.
var version = "dev"

func main() {
	if err := newCommand().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "verifier:", err)
		os.Exit(1)
	}
}
