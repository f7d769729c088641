// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// Happenings counts what happens to keys.
type Happenings struct {
	count *prometheus.CounterVec
}

// NewHappenings registers the counter.
func NewHappenings(registerer prometheus.Registerer) (*Happenings, error) {
	count := prometheus.NewCounterVec(prometheus.CounterOpts{Name: happenings.Name, Help: happenings.Help}, happenings.Labels)
	return &Happenings{count: count}, registerer.Register(count)
}

// Count adds what a round changed of a key. Reasons come from a closed set.
func (h *Happenings) Count(list []keys.Event) {
	for _, e := range list {
		h.count.WithLabelValues(e.Reason).Inc()
	}
}
