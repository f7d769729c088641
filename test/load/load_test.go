// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		options options
		wrong   string
	}{
		"as they are":             {options: options{keys: 2000, accounts: 400, concurrency: 8, rounds: 1}},
		"one key":                 {options: options{keys: 1, accounts: 1, concurrency: 1, rounds: 1}},
		"no round":                {options: options{keys: 1, accounts: 1, concurrency: 1}, wrong: "at least 1"},
		"more than accounts hold": {options: options{keys: 2001, accounts: 2, concurrency: 1, rounds: 1}, wrong: "raise --accounts"},
		"accounts without keys":   {options: options{keys: 1, accounts: 2, concurrency: 1, rounds: 1}, wrong: "at most --keys"},
		"a KeyExport":             {options: options{keys: 1, accounts: 1, concurrency: 1, rounds: 1, exportKeys: 1000}},
		"a KeyExport of few":      {options: options{keys: 1, accounts: 1, concurrency: 1, rounds: 1, exportKeys: 99}, wrong: "at least 100"},
		"a KeyExport of many":     {options: options{keys: 1, accounts: 1, concurrency: 1, rounds: 1, exportKeys: 1001}, wrong: "raise --accounts"},
		"one rotation":            {options: options{keys: 1, accounts: 1, concurrency: 1, rounds: 1, rotationKeys: 1}},
		"too many rotations":      {options: options{keys: 1, accounts: 1, concurrency: 1, rounds: 1, rotationKeys: 1001}, wrong: "raise --accounts"},
		"rotations and exports": {
			options: options{keys: 1, accounts: 1, concurrency: 1, rounds: 1, rotationKeys: 1, exportKeys: 100}, wrong: "not used with",
		},
		"profile of a given binary": {
			options: options{keys: 1, accounts: 1, concurrency: 1, rounds: 1, manager: "m", profile: "p"}, wrong: "leave --manager out",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tc.options.validate()
			if (err == nil) != (tc.wrong == "") || (err != nil && !strings.Contains(err.Error(), tc.wrong)) {
				t.Errorf("got %v, want %q", err, tc.wrong)
			}
		})
	}
}

func TestNewDataset(t *testing.T) {
	t.Parallel()
	var together, byTurns []string
	for _, k := range newDataset(1, 5, 2, false).keys {
		together = append(together, k.Spec.Account[len(k.Spec.Account)-1:])
	}
	for _, k := range newDataset(1, 5, 2, true).keys {
		byTurns = append(byTurns, k.Spec.Account[len(k.Spec.Account)-1:])
	}
	if diff := cmp.Diff([]string{"0", "0", "0", "1", "1"}, together); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"0", "1", "0", "1", "0"}, byTurns); diff != "" {
		t.Error(diff)
	}
	for _, spread := range []bool{false, true} {
		for account, n := range newDataset(1, 1999, 400, spread).sizes() {
			if n > defaultLimit {
				t.Errorf("spread %v: account %s has %d keys: one would wait for ever", spread, account, n)
			}
		}
	}
}

func TestNewDataset_PreparesAccountsAboveDefaultLimit(t *testing.T) {
	t.Parallel()
	if list := newDataset(1, 10, 2, false).prepared(); len(list) != 0 {
		t.Errorf("%d accounts are prepared that need no limit", len(list))
	}
	list := newDataset(1, 11, 2, false).prepared()
	if len(list) != 2 || *list[0].Spec.Limits.MaxKeys != 6 {
		t.Errorf("got %+v", list)
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	values := make([]float64, 100)
	for i := range values {
		values[i] = float64(100 - i) // 100 down to 1
	}
	for q, want := range map[float64]float64{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %v: got %v, want %v", q, got, want)
		}
	}
	if got := quantile(nil, 0.5); got != 0 {
		t.Errorf("of none: got %v", got)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for want, values := range map[float64][]float64{3: {9, 3, 1}, 2.5: {4, 1, 2, 3}} {
		if got := median(values); got != want {
			t.Errorf("median of %v: got %v, want %v", values, got, want)
		}
	}
	if got := show("%.0f", median(nil)); got != "-" {
		t.Errorf("median of none: shown as %s", got)
	}
}

func TestShare(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		total float64
		n     int
		want  []int
	}{
		"even":      {total: 6, n: 3, want: []int{2, 2, 2}},
		"uneven":    {total: 5, n: 4, want: []int{1, 1, 1, 2}},
		"fractions": {total: 2.25 * 4, n: 4, want: []int{2, 2, 2, 3}},
	}
	for name, tc := range cases {
		var got []int
		for k := range tc.n {
			got = append(got, share(tc.total, k, tc.n))
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

const someMetrics = `# HELP apiserver_request_total [STABLE] Counter of apiserver requests.
# TYPE apiserver_request_total counter
apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="secrets",scope="resource",subresource="",verb="POST",version="v1"} 5
apiserver_request_total{code="200",group="apikey-manager.io",resource="apikeys",scope="resource",subresource="status",verb="PUT"} 4
apiserver_request_total{code="409",group="apikey-manager.io",resource="apikeys",scope="resource",subresource="status",verb="PUT"} 1
apiserver_request_total{code="200",group="coordination.k8s.io",resource="leases",subresource="",verb="PUT"} 7
apiserver_request_total{code="200",group="",resource="secrets",subresource="",verb="GET"} 3
apiserver_request_total{code="200",group="",resource="secrets",subresource="",verb="LIST"} 2
apiserver_request_duration_seconds_count{verb="PUT"} 9
apiserver_longrunning_requests{group="apikey-manager.io",resource="apikeys",scope="cluster",verb="WATCH",version="v1alpha1"} 2
apiserver_longrunning_requests{group="apikey-manager.io",resource="apikeys",scope="namespace",verb="WATCH",version="v1alpha1"} 1
apiserver_longrunning_requests{group="",resource="secrets",scope="cluster",verb="WATCH",version="v1"} 0
apiserver_longrunning_requests{group="",resource="pods",scope="resource",subresource="log",verb="CONNECT",version="v1"} 4
go_gc_heap_live_bytes 1.5e+06
workqueue_depth{controller="apikey",name="a \"b\", {c}",priority="0"} 2
workqueue_depth{controller="account",name="account"} 1 1700000000000
`

func TestParseMetrics(t *testing.T) {
	t.Parallel()
	metrics, err := parseMetrics(strings.NewReader(someMetrics))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, label, value string
		want               float64
	}{
		{name: metricHeapLive, want: 1.5e6},
		{name: metricDepth, want: 3},
		{name: metricDepth, label: "name", value: `a "b", {c}`, want: 2},
		{name: "apiserver_request_duration_seconds_count", want: 0}, // not wanted
	} {
		if got := sum(metrics, tc.name, tc.label, tc.value); got != tc.want {
			t.Errorf("%s{%s=%q}: got %v, want %v", tc.name, tc.label, tc.value, got, tc.want)
		}
	}
	served, conflicts := requestsServed(metrics)
	want := counts{{"POST", "secrets"}: 5, {"PUT", "apikeys/status"}: 5, {"GET", "secrets"}: 3}
	if diff := cmp.Diff(want, served); diff != "" || conflicts != 1 {
		t.Errorf("%d conflicts, and %s", conflicts, diff)
	}
	if diff := cmp.Diff(watchCounts{"apikeys": 3}, watchesServed(metrics)); diff != "" {
		t.Error(diff)
	}
	for _, broken := range []string{`workqueue_depth{name=x} 1`, `workqueue_depth{name="x"} many`} {
		if _, err := parseMetrics(strings.NewReader(broken)); err == nil {
			t.Errorf("%s was read", broken)
		}
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	before := counts{{"POST", "secrets"}: 5, {"GET", "secrets"}: 1}
	after := counts{{"POST", "secrets"}: 7, {"GET", "secrets"}: 3, {"PUT", "accounts/status"}: 4, {"PATCH", "accounts/status"}: 1}
	diff := after.since(before)
	if want := (counts{{"POST", "secrets"}: 2, {"GET", "secrets"}: 2, {"PUT", "accounts/status"}: 4, {"PATCH", "accounts/status"}: 1}); !cmp.Equal(want, diff) {
		t.Error(cmp.Diff(want, diff))
	}
	if diff.writes() != 7 || diff.of("accounts/status") != 5 || diff.reads("secrets") != 2 {
		t.Errorf("%d writes, %d of accounts/status, %d reads of secrets", diff.writes(), diff.of("accounts/status"), diff.reads("secrets"))
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	var done atomic.Int32
	err := parallel(t.Context(), 3, []int{1, 2, 3, 4, 5}, func(_ context.Context, n int) error {
		done.Add(int32(n))
		return nil
	})
	if err != nil || done.Load() != 15 {
		t.Errorf("got %d, %v", done.Load(), err)
	}
	wrong := errors.New("wrong")
	err = parallel(t.Context(), 2, make([]int, 100), func(ctx context.Context, _ int) error {
		done.Add(1)
		return wrong
	})
	if !errors.Is(err, wrong) || done.Load() > 15+2 {
		t.Errorf("after %d: got %v", done.Load()-15, err)
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	issue := func(took time.Duration) issuePhase {
		return issuePhase{
			timing: timing{took: took, latencies: []float64{10, 30}}, keys: 10, accounts: 2,
			requests: counts{{"POST", "secrets"}: 10, {"PUT", "accounts/status"}: 5}, bytes: counts{{resource: "secrets"}: 10240},
		}
	}
	managed := managerPhase{
		issuePhase: issue(5 * time.Second), restart: 1500 * time.Millisecond,
		before: memory{heap: 1 << 20}, after: memory{heap: 1<<20 + 10*8<<10}, restarted: memory{heap: 1<<20 + 10*4<<10},
	}
	f := results{managers: [][]managerPhase{{managed}}, bare: []issuePhase{issue(4 * time.Second)}, watching: []issuePhase{issue(8 * time.Second)}}
	got := report(options{keys: 10, accounts: 2, concurrency: 8, rounds: 1}, f)
	for _, want := range []string{
		"10 keys over 2 accounts",
		"keys issued per second                            2            2            1",
		"of the bare client, %                            80          100           50",
		"of the bare client with watches, %              160          200          100  >= 90",
		"PUT accounts/status per account                2.50         2.50         2.50",
		"heap per key, after issuing, KiB                8.0                            < 6",
		"start to settled, s                             1.5                            < 5",
	} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if err := f.violation(); err != nil {
		t.Error(err)
	}
	f.managers[0][0].restartRequests = counts{{"PUT", "apikeys/status"}: 1}
	if err := f.violation(); err == nil {
		t.Error("a restart that writes is wrong")
	}
}
