// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	verifierChecks = Definition{
		"apikey_verifier_checks_total", Counter,
		"Number of verdicts of the verifier, by protocol and code.",
		[]string{"protocol", "code"},
	}
	verifierDuration = Definition{
		"apikey_verifier_check_duration_seconds", Histogram,
		"Duration of a check by the verifier, without the time on the network.",
		[]string{"protocol"},
	}
	verifierAccountChecks = Definition{
		"apikey_verifier_account_checks_total", Counter,
		"Number of verdicts on known keys, by account. " +
			"Requires --account-metrics. Accounts beyond --account-metrics-limit are counted under an empty name.",
		[]string{"account", "code"},
	}
	verifierCacheAge = Definition{
		"apikey_verifier_cache_age_seconds", Gauge,
		"Time in seconds for which the verifier may have missed changes because its watch does not work. 0 while it works.",
		[]string{"cluster"},
	}
	verifierSynced = Definition{
		"apikey_verifier_synced", Gauge,
		"1 if the verifier has synced all keys and gives verdicts on them, 0 otherwise.",
		[]string{"cluster"},
	}
	verifierRollbacks = Definition{
		"apikey_verifier_store_rollbacks_total", Counter,
		"Number of rollbacks of the API server's store that the verifier detected, for example after restoring an etcd backup. " +
			"It lists all keys again after each.",
		[]string{"cluster"},
	}
	verifierKeys        = Definition{"apikey_verifier_keys", Gauge, "Number of APIKeys that the verifier holds.", []string{"cluster"}}
	verifierCredentials = Definition{
		"apikey_verifier_credentials", Gauge, "Number of credentials that the verifier holds.", []string{"cluster"},
	}
	verifierUndecodable = Definition{
		"apikey_verifier_undecodable_objects", Gauge,
		"Number of objects of a kind that the verifier cannot decode completely. It refuses such a key, and all keys of such an account.",
		[]string{"kind", "cluster"},
	}
	verifierAccounts = Definition{
		"apikey_verifier_accounts", Gauge, "Number of accounts that the verifier holds or has keys of.", []string{"cluster"},
	}
)

// verifierDefinitions lists the metrics of the verifier in the order of the documentation.
var verifierDefinitions = []Definition{
	verifierChecks, verifierDuration, verifierAccountChecks, verifierCacheAge, verifierSynced, verifierRollbacks,
	verifierKeys, verifierCredentials, verifierAccounts, verifierUndecodable, verifierBuildInfo,
}

// VerdictRecorderOptions configures a VerdictRecorder.
type VerdictRecorderOptions struct {
	// Protocols and Codes hold the names of all protocols and codes, in the order of their numbers.
	Protocols, Codes []string
	// Clusters holds the clusters that the verifier follows.
	Clusters []VerifierCluster
	// AccountLimit limits how many accounts are counted individually. Zero disables counting by account.
	AccountLimit int
}

// VerifierCluster describes a cluster that a verifier follows.
type VerifierCluster struct {
	// Name is the value of the label cluster. It is empty if there is only one cluster, which needs no name.
	Name string
	// Size returns the numbers of keys, credentials and accounts of the cluster that the verifier holds.
	Size func() (keys, credentials, accounts int)
	// Undecodable returns the numbers of keys and accounts that cannot be decoded completely.
	Undecodable func() (keys, accounts int)
	// CacheAge returns for how long changes may have been missed. Synced reports whether verdicts are given.
	CacheAge func() time.Duration
	Synced   func() bool
	// Rollbacks returns how many rollbacks of the API server's store were detected.
	Rollbacks func() uint64
}

// VerdictRecorder records verdicts.
type VerdictRecorder struct {
	checks    [][]prometheus.Counter
	durations []prometheus.Observer
	accounts  *accountChecks
}

// NewVerdictRecorder returns a VerdictRecorder and registers the metrics of the verifier.
func NewVerdictRecorder(registerer prometheus.Registerer, o VerdictRecorderOptions) (*VerdictRecorder, error) {
	checks := prometheus.NewCounterVec(prometheus.CounterOpts{Name: verifierChecks.Name, Help: verifierChecks.Help}, verifierChecks.Labels)
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: verifierDuration.Name, Help: verifierDuration.Help,
		Buckets: []float64{1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 1e-2, 1e-1, 1},
	}, verifierDuration.Labels)
	r := &VerdictRecorder{}
	for _, protocol := range o.Protocols {
		var counters []prometheus.Counter
		for _, code := range o.Codes {
			counters = append(counters, checks.WithLabelValues(protocol, code))
		}
		r.checks = append(r.checks, counters)
		r.durations = append(r.durations, durations.WithLabelValues(protocol))
	}
	collectors := []prometheus.Collector{checks, durations}
	for i := range o.Clusters {
		collectors = append(collectors, o.Clusters[i].collectors()...)
	}
	if o.AccountLimit > 0 {
		r.accounts = newAccountChecks(o)
		collectors = append(collectors, r.accounts.count)
	}
	for _, c := range collectors {
		if err := registerer.Register(c); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (c *VerifierCluster) collectors() []prometheus.Collector {
	size := func(pick func(keys, credentials, accounts int) int) func() float64 {
		return func() float64 { return float64(pick(c.Size())) }
	}
	undecodable := func(kind string, pick func(keys, accounts int) int) prometheus.Collector {
		labels := c.labels()
		labels["kind"] = kind
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: verifierUndecodable.Name, Help: verifierUndecodable.Help, ConstLabels: labels,
		}, func() float64 { return float64(pick(c.Undecodable())) })
	}
	synced := func() float64 {
		if c.Synced() {
			return 1
		}
		return 0
	}
	return []prometheus.Collector{
		c.gauge(verifierCacheAge, func() float64 { return c.CacheAge().Seconds() }),
		c.gauge(verifierSynced, synced),
		prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: verifierRollbacks.Name, Help: verifierRollbacks.Help, ConstLabels: c.labels()},
			func() float64 { return float64(c.Rollbacks()) },
		),
		c.gauge(verifierKeys, size(func(keys, _, _ int) int { return keys })),
		c.gauge(verifierCredentials, size(func(_, credentials, _ int) int { return credentials })),
		c.gauge(verifierAccounts, size(func(_, _, accounts int) int { return accounts })),
		undecodable("APIKey", func(keys, _ int) int { return keys }),
		undecodable("Account", func(_, accounts int) int { return accounts }),
	}
}

func (c *VerifierCluster) gauge(d Definition, value func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: d.Name, Help: d.Help, ConstLabels: c.labels()}, value)
}

// labels returns the label that names the cluster. A cluster without a name has none.
func (c *VerifierCluster) labels() prometheus.Labels {
	if c.Name == "" {
		return prometheus.Labels{}
	}
	return prometheus.Labels{"cluster": c.Name}
}

// Observe records a verdict. protocol and code are indexes into the options, account is the account of the key, or ""
// if no key matched.
func (r *VerdictRecorder) Observe(protocol, code int, account string, took time.Duration) {
	r.checks[protocol][code].Inc()
	r.durations[protocol].Observe(took.Seconds())
	if r.accounts != nil && account != "" {
		r.accounts.observe(account, code)
	}
}

// accountChecks counts verdicts by account, up to a limit, because the number of accounts is unbounded.
type accountChecks struct {
	count *prometheus.CounterVec
	codes []string
	limit int64
	known sync.Map
	size  atomic.Int64
}

func newAccountChecks(o VerdictRecorderOptions) *accountChecks {
	d := verifierAccountChecks
	return &accountChecks{
		count: prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, d.Labels), codes: o.Codes,
		limit: int64(o.AccountLimit),
	}
}

func (a *accountChecks) observe(account string, code int) {
	if !a.isTracked(account) {
		account = ""
	}
	a.count.WithLabelValues(account, a.codes[code]).Inc()
}

// isTracked reports whether an account is counted individually. The first accounts with a verdict are, up to the limit.
func (a *accountChecks) isTracked(account string) bool {
	if _, known := a.known.Load(account); known {
		return true
	}
	if a.size.Add(1) > a.limit {
		a.size.Add(-1)
		return false
	}
	if _, known := a.known.LoadOrStore(account, nil); known {
		a.size.Add(-1)
	}
	return true
}
