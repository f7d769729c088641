// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/apikey-manager/apikey-manager/internal/metrics"
)

func TestExportRecorder(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	clock := clocktesting.NewFakePassiveClock(now)
	registry := prometheus.NewRegistry()
	r, err := metrics.NewExportRecorder(registry, clock)
	if err != nil {
		t.Fatal(err)
	}
	export := func(name string) types.NamespacedName { return types.NamespacedName{Namespace: "gateway", Name: name} }
	r.Pending(export("quiet"), time.Time{})
	r.Pending(export("stuck"), now)
	r.Pending(export("later"), now.Add(time.Hour))
	r.Pending(export("done"), now)
	r.Pending(export("done"), time.Time{})
	r.Pending(export("gone"), now)
	r.Forget(export("gone"))
	r.Withdrawn(40 * time.Millisecond)
	r.Withdrawn(20 * time.Second)
	r.Withdrawn(-time.Second) // the clock was set back
	clock.SetTime(now.Add(90 * time.Second))
	const want = `
# HELP apikey_manager_export_withdrawal_pending_seconds Age in seconds of the oldest withdrawal of a KeyExport that has not been written. 0 if there is none.
# TYPE apikey_manager_export_withdrawal_pending_seconds gauge
apikey_manager_export_withdrawal_pending_seconds{name="done",namespace="gateway"} 0
apikey_manager_export_withdrawal_pending_seconds{name="later",namespace="gateway"} 0
apikey_manager_export_withdrawal_pending_seconds{name="quiet",namespace="gateway"} 0
apikey_manager_export_withdrawal_pending_seconds{name="stuck",namespace="gateway"} 90
# HELP apikey_manager_export_withdrawal_seconds Time from when a credential ceased to be valid, or from when the manager received the change, until it was withdrawn from the objects of a KeyExport.
# TYPE apikey_manager_export_withdrawal_seconds histogram
apikey_manager_export_withdrawal_seconds_bucket{le="0.01"} 1
apikey_manager_export_withdrawal_seconds_bucket{le="0.025"} 1
apikey_manager_export_withdrawal_seconds_bucket{le="0.05"} 2
apikey_manager_export_withdrawal_seconds_bucket{le="0.1"} 2
apikey_manager_export_withdrawal_seconds_bucket{le="0.25"} 2
apikey_manager_export_withdrawal_seconds_bucket{le="0.5"} 2
apikey_manager_export_withdrawal_seconds_bucket{le="1"} 2
apikey_manager_export_withdrawal_seconds_bucket{le="2.5"} 2
apikey_manager_export_withdrawal_seconds_bucket{le="5"} 2
apikey_manager_export_withdrawal_seconds_bucket{le="10"} 2
apikey_manager_export_withdrawal_seconds_bucket{le="30"} 3
apikey_manager_export_withdrawal_seconds_bucket{le="60"} 3
apikey_manager_export_withdrawal_seconds_bucket{le="300"} 3
apikey_manager_export_withdrawal_seconds_bucket{le="+Inf"} 3
apikey_manager_export_withdrawal_seconds_sum 20.04
apikey_manager_export_withdrawal_seconds_count 3
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("the linter reports %v, %v", problems, err)
	}
}
