// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command manager runs the control plane of apikey-manager. It issues, rotates, expires and revokes the API keys that
// are declared in a cluster, and stores them in Secrets.
package main

import (
	"fmt"
	"os"
	// Accounts use IANA time zones, and the container image has no zone files.
	_ "time/tzdata"

	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	if err := newCommand().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}
