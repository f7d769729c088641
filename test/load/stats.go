// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
)

// quantile returns the smallest value that at least a share q of the values do not exceed, or 0 if there are no values.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[max(0, min(rank, len(sorted)-1))]
}

// median returns the middle value, or the mean of the middle two. It is not a number if there are no values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// share returns the k-th of n parts of a total, counted from 0. The parts are whole numbers that differ by at most one and add
// up to the total, rounded down.
func share(total float64, k, n int) int {
	upTo := func(k int) int { return int(total*float64(k)/float64(n) + 1e-9) }
	return upTo(k+1) - upTo(k)
}
