// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/internal/export"
)

// startWithdrawals determines since when the withdrawals of a reconciliation are pending: since the change that caused it was
// received, or since the time at which a credential ceased to be valid.
func (s *exportState) startWithdrawals(changed, now time.Time) {
	due := changed
	if !s.next.IsZero() && !s.next.After(now) {
		due = earliest(due, s.next)
	}
	s.pendingSince = earliest(s.pendingSince, due)
}

// recordWithdrawals records since when the oldest withdrawal is pending that this reconciliation did not write, or else when the
// next one is due.
func (r *KeyExportReconciler) recordWithdrawals(run *exportRun, err error) {
	run.state.next = run.next
	pending := run.state.pendingSince
	switch {
	case run.removes > 0, !run.placed && err != nil: // the withdrawals are not written, or are not known
	case err != nil:
		pending = run.next
	default:
		pending, run.state.pendingSince = run.next, time.Time{}
	}
	if name := client.ObjectKeyFromObject(run.export); r.Recorder != nil {
		if r.Recorder.Pending(name, pending); !r.states.has(name, run.state) {
			r.Recorder.Forget(name) // it was deleted meanwhile
		}
	}
}

// withdrawals returns the number of values that a write withdraws. A value that is no credential of a key counts, too: the key may
// have been deleted while no manager ran.
func (run *exportRun) withdrawals(w export.Write) int {
	n := len(w.Withdrawn)
	if known := run.state.objects[w.Name]; known != nil {
		for name, item := range known.items {
			if after, stays := w.Items[name]; item.Digest == "" && (!stays || !bytes.Equal(item.Value, after.Value)) {
				n++
			}
		}
	}
	return n
}
