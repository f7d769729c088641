// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// EventCounter counts the events of keys.
type EventCounter struct {
	count *prometheus.CounterVec
}

// NewEventCounter returns an EventCounter and registers its metric.
func NewEventCounter(registerer prometheus.Registerer) (*EventCounter, error) {
	count := prometheus.NewCounterVec(prometheus.CounterOpts{Name: events.Name, Help: events.Help}, events.Labels)
	return &EventCounter{count: count}, registerer.Register(count)
}

// Count adds events. Their reasons come from a fixed set, so the number of series is bounded.
func (c *EventCounter) Count(list []keys.Event) {
	for _, e := range list {
		c.count.WithLabelValues(e.Reason).Inc()
	}
}
