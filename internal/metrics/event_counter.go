// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// countedFromStart lists the reasons whose series exist before the first event, so that Prometheus observes its increase. The
// other reasons have a series from their first event on.
var countedFromStart = []string{
	v1alpha1.ReasonIssued, v1alpha1.ReasonRotated, v1alpha1.ReasonReissued, v1alpha1.ReasonActivated, v1alpha1.ReasonDeactivated,
	v1alpha1.ReasonExpired, v1alpha1.ReasonRevoked,
	v1alpha1.ReasonNotificationSent, v1alpha1.ReasonNotificationFailed, v1alpha1.ReasonMailLimitReached,
}

// EventCounter counts the events of keys.
type EventCounter struct {
	count *prometheus.CounterVec
}

// NewEventCounter returns an EventCounter and registers its metric.
func NewEventCounter(registerer prometheus.Registerer) (*EventCounter, error) {
	count := prometheus.NewCounterVec(prometheus.CounterOpts{Name: events.Name, Help: events.Help}, events.Labels)
	for _, reason := range countedFromStart {
		count.WithLabelValues(reason)
	}
	return &EventCounter{count: count}, registerer.Register(count)
}

// Count adds events. Their reasons come from a fixed set, so the number of series is bounded.
func (c *EventCounter) Count(list []keys.Event) {
	for _, e := range list {
		c.count.WithLabelValues(e.Reason).Inc()
	}
}
