// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command verifier is the door of apikey-manager: gateways and applications ask it whether a request's key is good.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	// Accounts name IANA time zones; the image has no zone files.
	_ "time/tzdata"

	ctrl "sigs.k8s.io/controller-runtime"
)

// version is set by the linker.
var version = "dev"

// gcPercent is how much garbage may come together before it is collected, in percent of what lives: the index lives long,
// and a request leaves a few KiB. GOMEMLIMIT keeps that within the container, GOGC says otherwise.
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
