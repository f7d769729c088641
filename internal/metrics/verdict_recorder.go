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
		"Verdicts that the verifier gave, by the face that was asked and the verdict's code.",
		[]string{"face", "code"},
	}
	verifierDuration = Definition{
		"apikey_verifier_check_duration_seconds", Histogram,
		"How long the verifier took for a verdict, without what the network took.",
		[]string{"face"},
	}
	verifierAccountChecks = Definition{
		"apikey_verifier_account_checks_total", Counter,
		"Verdicts on keys that are known, by account, with --account-metrics. The account with an empty name stands for all beyond --account-metrics-limit.",
		[]string{"account", "code"},
	}
	verifierCacheAge = Definition{
		"apikey_verifier_cache_age_seconds", Gauge,
		"For how long the verifier has not heard of changes; 0 while the API server is telling it of them.", nil,
	}
	verifierSynced = Definition{
		"apikey_verifier_synced", Gauge,
		"Whether the verifier knows all keys and gives verdicts: 1, else 0.", nil,
	}
	verifierRollbacks = Definition{
		"apikey_verifier_store_rollbacks_total", Counter,
		"How often the verifier found that the API server's store was rolled back, as by restoring a backup of etcd, and read all keys again.", nil,
	}
	verifierKeys        = Definition{"apikey_verifier_keys", Gauge, "How many APIKeys the verifier knows.", nil}
	verifierCredentials = Definition{"apikey_verifier_credentials", Gauge, "How many credentials the verifier knows.", nil}
	verifierUndecodable = Definition{
		"apikey_verifier_undecodable_objects", Gauge,
		"How many objects of a kind the verifier can't decode all of: it refuses such a key, and all keys of such an account.",
		[]string{"kind"},
	}
	verifierAccounts = Definition{"apikey_verifier_accounts", Gauge, "How many accounts the verifier knows, or has keys of.", nil}
)

// verifierDefinitions are the metrics of the verifier, in the order of the docs.
var verifierDefinitions = []Definition{
	verifierChecks, verifierDuration, verifierAccountChecks, verifierCacheAge, verifierSynced, verifierRollbacks,
	verifierKeys, verifierCredentials, verifierAccounts, verifierUndecodable,
}

// VerdictRecorderOptions say what there is to measure of a verifier.
type VerdictRecorderOptions struct {
	// Protocols and Codes are the names of all faces and codes, in the order of their numbers.
	Protocols, Codes []string
	// Size is how many keys, credentials and accounts are known.
	Size func() (keys, credentials, accounts int)
	// Undecodable is how many keys and accounts can't be decoded.
	Undecodable func() (keys, accounts int)
	// CacheAge is how long no changes were heard of, and Synced whether verdicts are given.
	CacheAge func() time.Duration
	Synced   func() bool
	// Rollbacks returns how often the API server's store was found to be rolled back.
	Rollbacks func() uint64
	// AccountLimit is how many accounts are counted one by one; 0: none.
	AccountLimit int
}

// VerdictRecorder counts verdicts.
type VerdictRecorder struct {
	checks    [][]prometheus.Counter
	durations []prometheus.Observer
	accounts  *accountChecks
}

// NewVerdictRecorder registers the metrics of a verifier.
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
	collectors := append(o.gauges(), checks, durations)
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

func (o VerdictRecorderOptions) gauges() []prometheus.Collector {
	gauge := func(d Definition, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: d.Name, Help: d.Help}, value)
	}
	size := func(pick func(keys, credentials, accounts int) int) func() float64 {
		return func() float64 { return float64(pick(o.Size())) }
	}
	undecodable := func(kind string, pick func(keys, accounts int) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: verifierUndecodable.Name, Help: verifierUndecodable.Help, ConstLabels: prometheus.Labels{"kind": kind},
		}, func() float64 { return float64(pick(o.Undecodable())) })
	}
	synced := func() float64 {
		if o.Synced() {
			return 1
		}
		return 0
	}
	return []prometheus.Collector{
		gauge(verifierCacheAge, func() float64 { return o.CacheAge().Seconds() }),
		gauge(verifierSynced, synced),
		prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: verifierRollbacks.Name, Help: verifierRollbacks.Help}, func() float64 { return float64(o.Rollbacks()) },
		),
		gauge(verifierKeys, size(func(keys, _, _ int) int { return keys })),
		gauge(verifierCredentials, size(func(_, credentials, _ int) int { return credentials })),
		gauge(verifierAccounts, size(func(_, _, accounts int) int { return accounts })),
		undecodable("APIKey", func(keys, _ int) int { return keys }),
		undecodable("Account", func(_, accounts int) int { return accounts }),
	}
}

// Observe counts a verdict: the numbers of its face and code, and the account whose key it was; empty: nobody's.
func (r *VerdictRecorder) Observe(protocol, code int, account string, took time.Duration) {
	r.checks[protocol][code].Inc()
	r.durations[protocol].Observe(took.Seconds())
	if r.accounts != nil && account != "" {
		r.accounts.observe(account, code)
	}
}

// accountChecks counts verdicts by account, up to a limit: accounts may be any number.
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
		count: prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, d.Labels), codes: o.Codes, limit: int64(o.AccountLimit),
	}
}

func (a *accountChecks) observe(account string, code int) {
	if !a.isTracked(account) {
		account = ""
	}
	a.count.WithLabelValues(account, a.codes[code]).Inc()
}

// isTracked is whether an account is one of those that are counted one by one: the first that there was a verdict on.
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
