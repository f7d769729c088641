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

func TestVerifierRecorder(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	r, err := metrics.NewVerifierRecorder(registry)
	if err != nil {
		t.Fatal(err)
	}
	r.Replicas(3, 1)
	r.Replicas(2, 1)
	r.Enforced(70 * time.Millisecond)
	r.Enforced(2 * time.Minute)
	want := `
# HELP apikey_manager_enforcement_seconds Time from when the manager observed that a key was disabled until all verifiers refused it.
# TYPE apikey_manager_enforcement_seconds histogram
apikey_manager_enforcement_seconds_bucket{le="0.01"} 0
apikey_manager_enforcement_seconds_bucket{le="0.025"} 0
apikey_manager_enforcement_seconds_bucket{le="0.05"} 0
apikey_manager_enforcement_seconds_bucket{le="0.1"} 1
apikey_manager_enforcement_seconds_bucket{le="0.25"} 1
apikey_manager_enforcement_seconds_bucket{le="0.5"} 1
apikey_manager_enforcement_seconds_bucket{le="1"} 1
apikey_manager_enforcement_seconds_bucket{le="2.5"} 1
apikey_manager_enforcement_seconds_bucket{le="5"} 1
apikey_manager_enforcement_seconds_bucket{le="10"} 1
apikey_manager_enforcement_seconds_bucket{le="30"} 1
apikey_manager_enforcement_seconds_bucket{le="60"} 1
apikey_manager_enforcement_seconds_bucket{le="300"} 2
apikey_manager_enforcement_seconds_bucket{le="+Inf"} 2
apikey_manager_enforcement_seconds_sum 120.07
apikey_manager_enforcement_seconds_count 2
# HELP apikey_manager_verifier_polls_failed_total Number of polls that a verifier replica did not answer.
# TYPE apikey_manager_verifier_polls_failed_total counter
apikey_manager_verifier_polls_failed_total 3
# HELP apikey_manager_verifier_replicas Number of verifier replicas at the last poll, by whether they answered the manager.
# TYPE apikey_manager_verifier_replicas gauge
apikey_manager_verifier_replicas{reached="false"} 1
apikey_manager_verifier_replicas{reached="true"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
