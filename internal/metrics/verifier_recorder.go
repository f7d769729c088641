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
		"How long it took from the moment in which the manager saw that a key was switched off until every verifier refused it.",
		nil,
	}
	verifierReplicas = Definition{
		"apikey_manager_verifier_replicas", Gauge,
		"How many replicas of the verifier there are, when last looked at: those that answered the manager, and those that did not.",
		[]string{"reached"},
	}
	verifierFailures = Definition{
		"apikey_manager_verifier_polls_failed_total", Counter,
		"How often a replica of the verifier did not answer the manager.",
		nil,
	}
)

// propagationBuckets are finer where a revocation should be, and go on to where somebody should have looked.
var propagationBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// VerifierRecorder measures how verifiers do, as the manager sees them.
type VerifierRecorder struct {
	took     prometheus.Histogram
	replicas *prometheus.GaugeVec
	failures prometheus.Counter
}

// NewVerifierRecorder registers the metrics.
func NewVerifierRecorder(registerer prometheus.Registerer) (*VerifierRecorder, error) {
	r := &VerifierRecorder{
		took:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: propagationDuration.Name, Help: propagationDuration.Help, Buckets: propagationBuckets}),
		replicas: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: verifierReplicas.Name, Help: verifierReplicas.Help}, verifierReplicas.Labels),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: verifierFailures.Name, Help: verifierFailures.Help}),
	}
	return r, errors.Join(registerer.Register(r.took), registerer.Register(r.replicas), registerer.Register(r.failures))
}

// Replicas is told how many replicas there are, and how many of them answered.
func (r *VerifierRecorder) Replicas(live, reached int) {
	r.replicas.WithLabelValues("true").Set(float64(reached))
	r.replicas.WithLabelValues("false").Set(float64(live - reached))
	r.failures.Add(float64(live - reached))
}

// Enforced is told how long it took until every replica refused a key.
func (r *VerifierRecorder) Enforced(took time.Duration) { r.took.Observe(took.Seconds()) }
