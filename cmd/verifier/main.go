// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command verifier verifies API keys: gateways and applications ask it whether the key in a request is valid.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	// Accounts use IANA time zones, and the container image has no zone files.
	_ "time/tzdata"

	ctrl "sigs.k8s.io/controller-runtime"
)

// gcPercent sets the growth of the heap, in percent, after which garbage is collected, unless GOGC is set. It is high
// because the index is long-lived and a request allocates only a few KiB. GOMEMLIMIT keeps the heap within the limit of
// the container.
const gcPercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if err := newCommand().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "verifier:", err)
		os.Exit(1)
	}
}
