// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
)

var (
	exportWithdrawal = Definition{
		"apikey_manager_export_withdrawal_seconds", Histogram,
		"Time from when a credential ceased to be valid, or from when the manager received the change, until it was withdrawn from the " +
			"objects of a KeyExport.",
		nil,
	}
	exportPending = Definition{
		"apikey_manager_export_withdrawal_pending_seconds", Gauge,
		"Age in seconds of the oldest withdrawal of a KeyExport that has not been written. 0 if there is none.",
		[]string{"namespace", "name"},
	}
)

// passiveClock returns the current time, like clock.PassiveClock.
type passiveClock interface{ Now() time.Time }

// ExportRecorder records how long the manager takes to withdraw credentials from the objects of KeyExports.
type ExportRecorder struct {
	clock passiveClock
	took  prometheus.Histogram

	mu sync.Mutex
	// pending holds since when the oldest withdrawal of each KeyExport is pending. The zero time means that there is none.
	pending map[types.NamespacedName]time.Time
}

var _ prometheus.Collector = &ExportRecorder{}

// NewExportRecorder returns an ExportRecorder and registers its metrics.
func NewExportRecorder(registerer prometheus.Registerer, now passiveClock) (*ExportRecorder, error) {
	r := &ExportRecorder{
		clock: now, pending: map[types.NamespacedName]time.Time{},
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: exportWithdrawal.Name, Help: exportWithdrawal.Help, Buckets: propagationBuckets,
		}),
	}
	return r, errors.Join(registerer.Register(r.took), registerer.Register(r))
}

// Withdrawn records how long it took to withdraw a credential.
func (r *ExportRecorder) Withdrawn(took time.Duration) { r.took.Observe(max(took, 0).Seconds()) }

// Pending records since when the oldest withdrawal of a KeyExport is pending. The time may be in the future, if the
// withdrawal is due then. The zero time means that there is none.
func (r *ExportRecorder) Pending(export types.NamespacedName, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending[export] = since
}

// Forget removes the series of a KeyExport that was deleted.
func (r *ExportRecorder) Forget(export types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pending, export)
}

// Describe implements prometheus.Collector.
func (*ExportRecorder) Describe(out chan<- *prometheus.Desc) { out <- exportPending.desc() }

// Collect implements prometheus.Collector.
func (r *ExportRecorder) Collect(out chan<- prometheus.Metric) {
	now := r.clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for export, since := range r.pending {
		age := time.Duration(0)
		if !since.IsZero() {
			age = max(0, now.Sub(since))
		}
		out <- exportPending.gauge(age.Seconds(), export.Namespace, export.Name)
	}
}
