// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

var (
	keyExpiration = prometheus.NewDesc("apikey_manager_key_expiration_timestamp_seconds",
		"When an accepted key expires, in seconds since the Unix epoch; absent for keys that never expire.", []string{"namespace", "name", "account"}, nil)
	keyReady = prometheus.NewDesc("apikey_manager_key_ready_status",
		"Whether a key is Ready: 1 for the status that holds of True, False and Unknown, else 0.", []string{"namespace", "name", "account", "condition"}, nil)
	accountKeys = prometheus.NewDesc("apikey_manager_account_keys",
		"How many keys an account has, by state.", []string{"account", "state"}, nil)
)

// scrapeTimeout bounds how long a scrape waits for the cache, which answers from memory.
const scrapeTimeout = 10 * time.Second

// Objects computes the figures of every key and account from a cache at the time of a scrape, so that no series
// outlives its object.
type Objects struct {
	ctx    func() (context.Context, context.CancelFunc)
	reader client.Reader
	log    logr.Logger
}

// NewObjects returns a collector that reads from a cache for as long as ctx lives.
func NewObjects(ctx context.Context, reader client.Reader, log logr.Logger) *Objects {
	return &Objects{
		ctx:    func() (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, scrapeTimeout) },
		reader: reader, log: log,
	}
}

var _ prometheus.Collector = &Objects{}

// Describe implements prometheus.Collector.
func (o *Objects) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{keyExpiration, keyReady, accountKeys} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (o *Objects) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := o.ctx()
	defer cancel()
	var list v1alpha1.APIKeyList
	if err := o.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		o.log.Error(err, "Could not list keys for a scrape")
		return
	}
	states := map[string]map[v1alpha1.ObservedState]int{}
	for i := range list.Items {
		k := &list.Items[i]
		collectKey(out, k)
		if states[k.Spec.Account] == nil {
			states[k.Spec.Account] = map[v1alpha1.ObservedState]int{}
		}
		states[k.Spec.Account][k.Status.State]++
	}
	for account, counts := range states {
		for _, state := range []v1alpha1.ObservedState{v1alpha1.StatePending, v1alpha1.StateActive, v1alpha1.StateInactive, v1alpha1.StateExpired, v1alpha1.StateRevoked} {
			out <- prometheus.MustNewConstMetric(accountKeys, prometheus.GaugeValue, float64(counts[state]), account, string(state))
		}
	}
}

func collectKey(out chan<- prometheus.Metric, k *v1alpha1.APIKey) {
	labels := []string{k.Namespace, k.Name, k.Spec.Account}
	if t := k.Status.ExpirationTime; t != nil {
		out <- prometheus.MustNewConstMetric(keyExpiration, prometheus.GaugeValue, float64(t.Unix()), labels...)
	}
	is := metav1.ConditionUnknown
	if c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		is = c.Status
	}
	for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
		value := 0.0
		if status == is {
			value = 1
		}
		out <- prometheus.MustNewConstMetric(keyReady, prometheus.GaugeValue, value, append(labels, string(status))...)
	}
}
