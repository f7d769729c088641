// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// report returns the tables with medians over rounds. Ratios are computed for each round, because the speed of the machine
// varies.
func report(o options, rows []row, revoked []time.Duration, fresh startup) string {
	var out strings.Builder
	fmt.Fprintf(
		&out,
		"\next_authz over gRPC, %d connections with %d requests under way each, medians of %d rounds of %s.\n",
		o.connections,
		o.burst,
		o.rounds,
		o.phase,
	)
	out.WriteString("The floor is a gRPC server of the same protocol that always answers OK. Processor time is the server's.\n\n")
	out.WriteString(
		"| keys | request | checks/s | floor's | ratio | p50 | floor's | p99 | floor's | processor/check | floor's | heap over empty |\n",
	)
	out.WriteString("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, r := range rows {
		ratios := make([]float64, len(r.verifier))
		for i := range r.verifier {
			ratios[i] = r.verifier[i].rate / r.baseline[i].rate
		}
		rate := func(p phase) float64 { return p.rate }
		fmt.Fprintf(&out, "| %d | %s | %.0f | %.0f | %.0f %% | %s | %s | %s | %s | %s | %s | %.1f MiB |\n", r.keys, r.what,
			of(r.verifier, rate), of(r.baseline, rate), 100*median(ratios),
			round(of(r.verifier, p50)), round(of(r.baseline, p50)), round(of(r.verifier, p99)), round(of(r.baseline, p99)),
			round(of(r.verifier, processor)), round(of(r.baseline, processor)), r.heap/(1<<20))
	}
	if len(revoked) > 0 {
		fmt.Fprintf(
			&out,
			"\nFrom the API server's answer to a deactivation to the first refusal, %d keys of %d under load: p50 %s, p99 %s, longest %s.\n",
			len(revoked),
			o.revocationsAt,
			round(quantile(revoked, 0.5)),
			round(quantile(revoked, 0.99)),
			round(revoked[len(revoked)-1]),
		)
	}
	fmt.Fprintf(
		&out,
		"\nA verifier that starts at %d keys is ready after %s, and has had %.0f MiB of memory at most.\n",
		fresh.keys,
		fresh.ready.Round(10*time.Millisecond),
		fresh.peak/(1<<20),
	)
	if o.idle > 0 {
		fmt.Fprintf(&out, "Without requests, it has %.0f MiB in the end, and needs %.2f %% of a core over %s.\n",
			fresh.resident/(1<<20), 100*fresh.idle, o.idle)
	}
	return out.String()
}

func p50(p phase) time.Duration       { return p.p50 }
func p99(p phase) time.Duration       { return p.p99 }
func processor(p phase) time.Duration { return p.processor }

func round(d time.Duration) time.Duration { return d.Round(time.Microsecond) }

func of[T cmp.Ordered](phases []phase, figure func(phase) T) T {
	list := make([]T, len(phases))
	for i, p := range phases {
		list[i] = figure(p)
	}
	return median(list)
}

func median[T cmp.Ordered](list []T) T {
	sorted := slices.Clone(list)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}
