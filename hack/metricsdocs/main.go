// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command metricsdocs writes docs/metrics.md from the definitions in internal/metrics.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/apikey-manager/apikey-manager/internal/metrics"
)

func main() {
	var b strings.Builder
	b.WriteString(
		"# Metrics\n\nUse this page to look up the meaning and the labels of a metric. `make docs` generates it from " +
			"`internal/metrics`.\n\nThe manager serves its metrics on `--metrics-bind-address` over TLS, to\n" +
			"clients that the API server authenticates and that may `get` the path `/metrics`. Each replica of the verifier serves the metrics\n" +
			"that begin with `apikey_verifier_` on its own `--metrics-bind-address`, without authentication. Both also serve the metrics of\n" +
			"controller-runtime, client-go and Go.\n\n" +
			"Metrics of individual keys and accounts are computed when they are scraped, so no series outlives its object. The " +
			"verifier keeps\n" +
			"its counters by account until it restarts. `config/prometheus/rules.yaml` contains alerts that use these " +
			"metrics.\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n",
	)
	for _, d := range metrics.Definitions {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Kind, strings.Join(d.Labels, ", "), d.Help)
	}
	if err := os.WriteFile("docs/metrics.md", []byte(b.String()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "metricsdocs:", err)
		os.Exit(1)
	}
}
