// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// EventCounter counts what happens to keys.
type EventCounter struct {
	count *prometheus.CounterVec
}

// NewEventCounter registers the counter.
func NewEventCounter(registerer prometheus.Registerer) (*EventCounter, error) {
	count := prometheus.NewCounterVec(prometheus.CounterOpts{Name: events.Name, Help: events.Help}, events.Labels)
	return &EventCounter{count: count}, registerer.Register(count)
}

// Count adds what a round changed of a key. Reasons come from a closed set.
func (c *EventCounter) Count(list []keys.Event) {
	for _, e := range list {
		c.count.WithLabelValues(e.Reason).Inc()
	}
}
