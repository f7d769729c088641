// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/apikey-manager/apikey-manager/internal/metrics"
)

// verifierCluster returns the state of a cluster.
func verifierCluster(name string, synced bool) metrics.VerifierCluster {
	return metrics.VerifierCluster{
		Name: name, Size: func() (int, int, int) { return 3, 4, 2 }, Undecodable: func() (int, int) { return 1, 0 },
		CacheAge: func() time.Duration { return 1500 * time.Millisecond }, Synced: func() bool { return synced },
		Rollbacks: func() uint64 { return 1 },
	}
}

func newVerifier(t *testing.T, accountLimit int, clusters ...metrics.VerifierCluster) (*metrics.VerdictRecorder, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	r, err := metrics.NewVerdictRecorder(registry, metrics.VerdictRecorderOptions{
		Protocols: []string{"one", "two"}, Codes: []string{"UNKNOWN", "VALID"}, AccountLimit: accountLimit,
		Clusters: clusters,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r, registry
}

func TestVerdictRecorder_CountsByProtocolAndCode(t *testing.T) {
	t.Parallel()
	r, registry := newVerifier(t, 0, verifierCluster("", true))
	r.Observe(1, 1, "acme", 30*time.Microsecond)
	r.Observe(1, 0, "", time.Microsecond)
	r.Observe(1, 0, "", time.Hour)
	compare(t, registry, `
# HELP apikey_verifier_checks_total Number of verdicts of the verifier, by protocol and code.
# TYPE apikey_verifier_checks_total counter
apikey_verifier_checks_total{code="UNKNOWN",protocol="one"} 0
apikey_verifier_checks_total{code="UNKNOWN",protocol="two"} 2
apikey_verifier_checks_total{code="VALID",protocol="one"} 0
apikey_verifier_checks_total{code="VALID",protocol="two"} 1
# HELP apikey_verifier_cache_age_seconds Time in seconds for which the verifier may have missed changes because its watch does not work. 0 while it works.
# TYPE apikey_verifier_cache_age_seconds gauge
apikey_verifier_cache_age_seconds 1.5
# HELP apikey_verifier_synced 1 if the verifier has synced all keys and gives verdicts on them, 0 otherwise.
# TYPE apikey_verifier_synced gauge
apikey_verifier_synced 1
# HELP apikey_verifier_store_rollbacks_total Number of rollbacks of the API server's store that the verifier detected, for example after restoring an etcd backup. It lists all keys again after each.
# TYPE apikey_verifier_store_rollbacks_total counter
apikey_verifier_store_rollbacks_total 1
# HELP apikey_verifier_keys Number of APIKeys that the verifier holds.
# TYPE apikey_verifier_keys gauge
apikey_verifier_keys 3
# HELP apikey_verifier_credentials Number of credentials that the verifier holds.
# TYPE apikey_verifier_credentials gauge
apikey_verifier_credentials 4
# HELP apikey_verifier_accounts Number of accounts that the verifier holds or has keys of.
# TYPE apikey_verifier_accounts gauge
apikey_verifier_accounts 2
# HELP apikey_verifier_undecodable_objects Number of objects of a kind that the verifier cannot decode completely. It refuses such a key, and all keys of such an account.
# TYPE apikey_verifier_undecodable_objects gauge
apikey_verifier_undecodable_objects{kind="APIKey"} 1
apikey_verifier_undecodable_objects{kind="Account"} 0
`, "apikey_verifier_checks_total", "apikey_verifier_cache_age_seconds", "apikey_verifier_synced", "apikey_verifier_store_rollbacks_total", "apikey_verifier_keys",
		"apikey_verifier_credentials", "apikey_verifier_accounts", "apikey_verifier_undecodable_objects")
	if n := testutil.CollectAndCount(registry, "apikey_verifier_account_checks_total"); n != 0 {
		t.Errorf("%d series by account, want none by default", n)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("the linter reports %v, %v", problems, err)
	}
}

func TestVerdictRecorder_LimitsAccounts(t *testing.T) {
	t.Parallel()
	r, registry := newVerifier(t, 2)
	for _, account := range []string{"acme", "bare", "late", "acme", "odd", ""} {
		r.Observe(0, 1, account, 0)
	}
	r.Observe(0, 0, "bare", 0)
	compare(t, registry, `
# HELP apikey_verifier_account_checks_total Number of verdicts on known keys, by account. Requires --account-metrics. Accounts beyond --account-metrics-limit are counted under an empty name.
# TYPE apikey_verifier_account_checks_total counter
apikey_verifier_account_checks_total{account="",code="VALID"} 2
apikey_verifier_account_checks_total{account="acme",code="VALID"} 2
apikey_verifier_account_checks_total{account="bare",code="UNKNOWN"} 1
apikey_verifier_account_checks_total{account="bare",code="VALID"} 1
`, "apikey_verifier_account_checks_total")
}

func TestVerdictRecorder_RejectsDuplicateRegistration(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	o := metrics.VerdictRecorderOptions{}
	if _, err := metrics.NewVerdictRecorder(registry, o); err != nil {
		t.Fatal(err)
	}
	if _, err := metrics.NewVerdictRecorder(registry, o); err == nil {
		t.Error("registering the metrics twice returned no error")
	}
}

func TestVerdictRecorder_ObserveAllocatesNothing(t *testing.T) {
	r, _ := newVerifier(t, 0)
	if n := testing.AllocsPerRun(100, func() { r.Observe(0, 1, "acme", time.Microsecond) }); n != 0 {
		t.Errorf("a verdict costs %v allocations", n)
	}
}

func compare(t *testing.T, registry *prometheus.Registry, want string, names ...string) {
	t.Helper()
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

func TestVerdictRecorder_LabelsClusters(t *testing.T) {
	t.Parallel()
	_, registry := newVerifier(t, 0, verifierCluster("eu", true), verifierCluster("us", false))
	compare(t, registry, `
# HELP apikey_verifier_synced 1 if the verifier has synced all keys and gives verdicts on them, 0 otherwise.
# TYPE apikey_verifier_synced gauge
apikey_verifier_synced{cluster="eu"} 1
apikey_verifier_synced{cluster="us"} 0
# HELP apikey_verifier_undecodable_objects Number of objects of a kind that the verifier cannot decode completely. It refuses such a key, and all keys of such an account.
# TYPE apikey_verifier_undecodable_objects gauge
apikey_verifier_undecodable_objects{cluster="eu",kind="APIKey"} 1
apikey_verifier_undecodable_objects{cluster="eu",kind="Account"} 0
apikey_verifier_undecodable_objects{cluster="us",kind="APIKey"} 1
apikey_verifier_undecodable_objects{cluster="us",kind="Account"} 0
`, "apikey_verifier_synced", "apikey_verifier_undecodable_objects")
}
