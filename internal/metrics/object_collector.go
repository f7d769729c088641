// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/reminder"
)

// scrapeTimeout limits how long a scrape waits for the cache, which answers from memory.
const scrapeTimeout = 10 * time.Second

// ObjectCollector computes the metrics of each key, account and KeyExport from a cache when they are scraped, so that no series
// outlives its object.
type ObjectCollector struct {
	ctx    func() (context.Context, context.CancelFunc)
	reader client.Reader
	log    logr.Logger
}

// NewObjectCollector returns a collector that reads from a cache until ctx is done.
func NewObjectCollector(ctx context.Context, reader client.Reader, log logr.Logger) *ObjectCollector {
	return &ObjectCollector{
		ctx:    func() (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, scrapeTimeout) },
		reader: reader, log: log,
	}
}

var _ prometheus.Collector = &ObjectCollector{}

// Describe implements prometheus.Collector.
func (o *ObjectCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []Definition{
		keyExpiration, keyRotation, keyNotified, keyReady, accountKeys, exportReady, exportCredentials, exportWithheld, undecodableObjects,
	} {
		out <- d.desc()
	}
}

// Collect implements prometheus.Collector.
func (o *ObjectCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := o.ctx()
	defer cancel()
	var list v1alpha1.APIKeyList
	if err := o.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		o.log.Error(err, "Failed to list keys for a scrape")
		return
	}
	accounts, err := o.accounts(ctx)
	if err != nil {
		o.log.Error(err, "Failed to list accounts for a scrape")
		return
	}
	var exports v1alpha1.KeyExportList
	if err := o.reader.List(ctx, &exports, client.UnsafeDisableDeepCopy); err != nil {
		o.log.Error(err, "Failed to list KeyExports for a scrape")
		return
	}
	collectUndecodable(out, list.Items, accounts, exports.Items)
	for i := range exports.Items {
		collectExport(out, &exports.Items[i])
	}
	states := map[string]map[v1alpha1.ObservedState]int{}
	for i := range list.Items {
		k := &list.Items[i]
		collectKey(out, k, accounts[k.Spec.Account])
		if states[k.Spec.Account] == nil {
			states[k.Spec.Account] = map[v1alpha1.ObservedState]int{}
		}
		states[k.Spec.Account][cmp.Or(k.Status.State, v1alpha1.StatePending)]++
	}
	for account, counts := range states {
		for _, state := range observedStates {
			out <- accountKeys.gauge(float64(counts[state]), account, string(state))
		}
	}
}

var observedStates = []v1alpha1.ObservedState{
	v1alpha1.StatePending, v1alpha1.StateActive, v1alpha1.StateInactive, v1alpha1.StateSuspended, v1alpha1.StateExpired, v1alpha1.StateRevoked,
}

// collectUndecodable counts the objects that cannot be decoded completely.
func collectUndecodable(
	out chan<- prometheus.Metric,
	list []v1alpha1.APIKey,
	accounts map[string]*v1alpha1.Account,
	exports []v1alpha1.KeyExport,
) {
	counts := map[string]int{"APIKey": 0, "Account": 0, "KeyExport": 0}
	for i := range list {
		if len(list[i].Undecodable) > 0 {
			counts["APIKey"]++
		}
	}
	for _, a := range accounts {
		if len(a.Undecodable) > 0 {
			counts["Account"]++
		}
	}
	for i := range exports {
		if len(exports[i].Undecodable) > 0 {
			counts["KeyExport"]++
		}
	}
	for kind, n := range counts {
		out <- undecodableObjects.gauge(float64(n), kind)
	}
}

func (o *ObjectCollector) accounts(ctx context.Context) (map[string]*v1alpha1.Account, error) {
	var list v1alpha1.AccountList
	if err := o.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	byName := make(map[string]*v1alpha1.Account, len(list.Items))
	for i := range list.Items {
		byName[list.Items[i].Name] = &list.Items[i]
	}
	return byName, nil
}

func collectKey(out chan<- prometheus.Metric, k *v1alpha1.APIKey, account *v1alpha1.Account) {
	labels := []string{k.Namespace, k.Name, k.Spec.Account}
	if t := k.Status.ExpirationTime; t != nil {
		out <- keyExpiration.gauge(float64(t.Unix()), labels...)
		out <- keyNotified.gauge(boolToFloat(isNotified(k, account)), labels...)
	}
	if t := k.Status.NextRotationTime; t != nil {
		out <- keyRotation.gauge(float64(t.Unix()), labels...)
	}
	collectReady(out, keyReady, k.Status.Conditions, labels)
}

// collectReady sends the series of the Ready condition of an object.
func collectReady(out chan<- prometheus.Metric, d Definition, conditions []metav1.Condition, labels []string) {
	ready := metav1.ConditionUnknown
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); c != nil {
		ready = c.Status
	}
	for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
		out <- d.gauge(boolToFloat(status == ready), append(labels, string(status))...)
	}
}

func collectExport(out chan<- prometheus.Metric, e *v1alpha1.KeyExport) {
	labels := []string{e.Namespace, e.Name}
	collectReady(out, exportReady, e.Status.Conditions, labels)
	if n := e.Status.Credentials; n != nil {
		out <- exportCredentials.gauge(float64(*n), labels...)
	}
	if n := e.Status.WithheldKeys; n != nil {
		out <- exportWithheld.gauge(float64(*n), labels...)
	}
}

// isNotified reports whether a mail was sent about the current expiration of a key. The status also holds mails about
// earlier expirations.
func isNotified(k *v1alpha1.APIKey, account *v1alpha1.Account) bool {
	var sent []string
	for _, n := range k.Status.Notifications {
		if n.State == v1alpha1.NotificationSent {
			sent = append(sent, n.Date)
		}
	}
	if len(sent) == 0 {
		return false
	}
	withoutNotifications := *k
	withoutNotifications.Status.Notifications = nil // without them, Decide plans the mails of the current expiration only
	plan := reminder.Decide(keys.Facts{Key: &withoutNotifications, Account: account}, true)
	return slices.ContainsFunc(plan.Notifications, func(n v1alpha1.NotificationStatus) bool { return slices.Contains(sent, n.Date) })
}

func boolToFloat(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (d Definition) gauge(value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d.desc(), prometheus.GaugeValue, value, labels...)
}
