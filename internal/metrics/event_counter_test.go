// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/metrics"
)

// Prometheus observes no increase of a series that begins with its first event.
func TestEventCounter_BeginsAtZero(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	counter, err := metrics.NewEventCounter(registry)
	if err != nil {
		t.Fatal(err)
	}
	const name = "apikey_manager_events_total"
	before := testutil.CollectAndCount(registry, name)
	if before == 0 {
		t.Error("no series before the first event")
	}
	counter.Count([]keys.Event{{Reason: v1alpha1.ReasonNotificationFailed}, {Reason: v1alpha1.ReasonRetentionOver}})
	if after := testutil.CollectAndCount(registry, name); after != before+1 {
		t.Errorf("%d series, want %d: one more, for %s", after, before+1, v1alpha1.ReasonRetentionOver)
	}
}
