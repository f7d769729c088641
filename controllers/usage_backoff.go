// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

// maxSkippedPolls is how many polls for the uses of keys are left out in a row while nothing happens: with the default interval,
// verifiers are then polled every five minutes. Each poll costs the API server two requests for each verifier, which has to
// authenticate and authorize the manager.
const maxSkippedPolls = 4

// usageBackoff decides in which poll intervals to poll for the uses of keys. While no key is used or changed, the time between two
// polls doubles up to maxSkippedPolls.
type usageBackoff struct {
	// skip is how many intervals to leave out after the last poll, skipped how many have been left out.
	skip, skipped int
}

// isDue reports whether to poll in the interval that begins. active reports whether a key or a verifier changed since the last
// interval, so that the first use of a new key is not reported late.
func (b *usageBackoff) isDue(active bool) bool {
	if !active && b.skipped < b.skip {
		b.skipped++
		return false
	}
	if active {
		b.skip = 0
	}
	b.skipped = 0
	return true
}

// record records the result of a poll. quiet reports whether all verifiers responded, and no use was reported or has still to be
// written.
func (b *usageBackoff) record(quiet bool) {
	if !quiet {
		b.skip = 0
		return
	}
	b.skip = min(2*b.skip+1, maxSkippedPolls)
}
