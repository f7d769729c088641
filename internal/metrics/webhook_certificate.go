// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var webhookCertificate = Definition{
	"apikey_manager_webhook_certificate_expiration_timestamp_seconds", Gauge,
	"Expiration time of the certificate that this replica serves for the webhook, in seconds since the Unix epoch. " +
		"Absent while it has none.",
	nil,
}

// WebhookCertificateCollector exports when the certificate of the webhook expires.
type WebhookCertificateCollector struct {
	// Expiration returns the expiration time of the certificate, or the zero time if there is no certificate.
	Expiration func() time.Time
}

var _ prometheus.Collector = WebhookCertificateCollector{}

// Describe implements prometheus.Collector.
func (WebhookCertificateCollector) Describe(out chan<- *prometheus.Desc) {
	out <- webhookCertificate.desc()
}

// Collect implements prometheus.Collector.
func (c WebhookCertificateCollector) Collect(out chan<- prometheus.Metric) {
	if t := c.Expiration(); !t.IsZero() {
		out <- webhookCertificate.gauge(float64(t.Unix()))
	}
}
