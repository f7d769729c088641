// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
)

// quantile is the smallest value that at least a share q of the values do not exceed; 0 of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[max(0, min(rank, len(sorted)-1))]
}

// median is the middle one of the values, or the mean of the middle two; 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// share is the k-th of n parts, counted from 0, of a total that need not be whole: the parts are whole, differ by one at
// most, and add up to the total, rounded down.
func share(total float64, k, n int) int {
	upTo := func(k int) int { return int(total*float64(k)/float64(n) + 1e-9) }
	return upTo(k+1) - upTo(k)
}
