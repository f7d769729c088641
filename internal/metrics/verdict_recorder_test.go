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

func newVerifier(t *testing.T, accountLimit int) (*metrics.VerdictRecorder, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	r, err := metrics.NewVerdictRecorder(registry, metrics.VerdictRecorderOptions{
		Protocols: []string{"one", "two"}, Codes: []string{"UNKNOWN", "VALID"}, AccountLimit: accountLimit,
		Size: func() (int, int, int) { return 3, 4, 2 }, Undecodable: func() (int, int) { return 1, 0 },
		CacheAge: func() time.Duration { return 1500 * time.Millisecond }, Synced: func() bool { return true },
		Rollbacks: func() uint64 { return 1 },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r, registry
}

func TestVerdictRecorder_CountsByProtocolAndCode(t *testing.T) {
	t.Parallel()
	r, registry := newVerifier(t, 0)
	r.Observe(1, 1, "acme", 30*time.Microsecond)
	r.Observe(1, 0, "", time.Microsecond)
	r.Observe(1, 0, "", time.Hour)
	compare(t, registry, `
# HELP apikey_verifier_checks_total Verdicts that the verifier gave, by the face that was asked and the verdict's code.
# TYPE apikey_verifier_checks_total counter
apikey_verifier_checks_total{code="UNKNOWN",face="one"} 0
apikey_verifier_checks_total{code="UNKNOWN",face="two"} 2
apikey_verifier_checks_total{code="VALID",face="one"} 0
apikey_verifier_checks_total{code="VALID",face="two"} 1
# HELP apikey_verifier_cache_age_seconds For how long the verifier has not heard of changes; 0 while the API server is telling it of them.
# TYPE apikey_verifier_cache_age_seconds gauge
apikey_verifier_cache_age_seconds 1.5
# HELP apikey_verifier_synced Whether the verifier knows all keys and gives verdicts: 1, else 0.
# TYPE apikey_verifier_synced gauge
apikey_verifier_synced 1
# HELP apikey_verifier_store_rollbacks_total How often the verifier found that the API server's store was rolled back, as by restoring a backup of etcd, and read all keys again.
# TYPE apikey_verifier_store_rollbacks_total counter
apikey_verifier_store_rollbacks_total 1
# HELP apikey_verifier_keys How many APIKeys the verifier knows.
# TYPE apikey_verifier_keys gauge
apikey_verifier_keys 3
# HELP apikey_verifier_credentials How many credentials the verifier knows.
# TYPE apikey_verifier_credentials gauge
apikey_verifier_credentials 4
# HELP apikey_verifier_accounts How many accounts the verifier knows, or has keys of.
# TYPE apikey_verifier_accounts gauge
apikey_verifier_accounts 2
# HELP apikey_verifier_undecodable_objects How many objects of a kind the verifier can't decode all of: it refuses such a key, and all keys of such an account.
# TYPE apikey_verifier_undecodable_objects gauge
apikey_verifier_undecodable_objects{kind="APIKey"} 1
apikey_verifier_undecodable_objects{kind="Account"} 0
`, "apikey_verifier_checks_total", "apikey_verifier_cache_age_seconds", "apikey_verifier_synced", "apikey_verifier_store_rollbacks_total", "apikey_verifier_keys",
		"apikey_verifier_credentials", "apikey_verifier_accounts", "apikey_verifier_undecodable_objects")
	if n := testutil.CollectAndCount(registry, "apikey_verifier_account_checks_total"); n != 0 {
		t.Errorf("there are %d figures of accounts that nobody asked for", n)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("the linter says %v, %v", problems, err)
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
# HELP apikey_verifier_account_checks_total Verdicts on keys that are known, by account, with --account-metrics. The account with an empty name stands for all beyond --account-metrics-limit.
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
	o := metrics.VerdictRecorderOptions{Synced: func() bool { return false }}
	if _, err := metrics.NewVerdictRecorder(registry, o); err != nil {
		t.Fatal(err)
	}
	if _, err := metrics.NewVerdictRecorder(registry, o); err == nil {
		t.Error("metrics were registered twice")
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
