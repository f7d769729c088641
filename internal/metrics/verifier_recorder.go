// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	propagationDuration = Definition{
		"apikey_manager_enforcement_seconds", Histogram,
		"Time from when the manager observed that a key was disabled until all verifiers refused it.",
		nil,
	}
	verifierReplicas = Definition{
		"apikey_manager_verifier_replicas", Gauge,
		"Number of verifier replicas at the last poll, by whether they answered the manager.",
		[]string{"reached"},
	}
	verifierFailures = Definition{
		"apikey_manager_verifier_polls_failed_total", Counter,
		"Number of polls that a verifier replica did not answer.",
		nil,
	}
)

// propagationBuckets have a high resolution in the expected range, and extend to durations that need an operator's
// attention.
var propagationBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// VerifierRecorder records what the manager observes about verifiers.
type VerifierRecorder struct {
	took     prometheus.Histogram
	replicas *prometheus.GaugeVec
	failures prometheus.Counter
}

// NewVerifierRecorder returns a VerifierRecorder and registers its metrics.
func NewVerifierRecorder(registerer prometheus.Registerer) (*VerifierRecorder, error) {
	r := &VerifierRecorder{
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: propagationDuration.Name, Help: propagationDuration.Help,
			Buckets: propagationBuckets,
		}),
		replicas: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: verifierReplicas.Name, Help: verifierReplicas.Help}, verifierReplicas.Labels),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: verifierFailures.Name, Help: verifierFailures.Help}),
	}
	return r, errors.Join(registerer.Register(r.took), registerer.Register(r.replicas), registerer.Register(r.failures))
}

// Replicas records the number of replicas, and how many of them answered.
func (r *VerifierRecorder) Replicas(live, reached int) {
	r.replicas.WithLabelValues("true").Set(float64(reached))
	r.replicas.WithLabelValues("false").Set(float64(live - reached))
	r.failures.Add(float64(live - reached))
}

// Enforced records how long it took until all replicas refused a key.
func (r *VerifierRecorder) Enforced(took time.Duration) { r.took.Observe(took.Seconds()) }
