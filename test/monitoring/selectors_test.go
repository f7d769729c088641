// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/apikey-manager/apikey-manager/internal/metrics"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// foreignMetrics lists the labels of the metrics in alerts and on the dashboard that are not in metrics.Definitions: those of
// Prometheus, client-go, controller-runtime and Go. TestDashboard checks that programs export them with these labels.
var foreignMetrics = map[string][]string{
	"up":                                 {},
	"leader_election_master_status":      {"name"},
	"workqueue_depth":                    {"name", "controller"},
	"workqueue_queue_duration_seconds":   {"name", "controller"},
	"controller_runtime_reconcile_total": {"controller", "result"},
	"process_resident_memory_bytes":      {},
	"process_cpu_seconds_total":          {},
}

// targetLabels are the labels that Prometheus adds to each series. A manager's series of a key keep their own namespace.
var targetLabels = []string{"job", "namespace", "pod"}

// labelValues returns all values of a label that has few, or nil.
func labelValues(label string, jobs []string) []string {
	switch label {
	case "job":
		return jobs
	case "condition":
		return []string{"True", "False", "Unknown"}
	case "reached":
		return []string{"true", "false"}
	case "code":
		var names []string
		for _, code := range verifier.Codes() {
			names = append(names, code.String())
		}
		return names
	}
	return nil
}

// selectors returns the selectors of series in a query. It ends the test if the query is not valid PromQL.
func selectors(t *testing.T, name, query string) []*parser.VectorSelector {
	t.Helper()
	expression, err := parser.ParseExpr(query)
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, query)
	}
	var list []*parser.VectorSelector
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok {
			list = append(list, s)
		}
		return nil
	})
	if len(list) == 0 {
		t.Errorf("%s selects no series: %s", name, query)
	}
	return list
}

// exported returns the labels of a metric, and reports whether there is such a metric.
func exported(name string) (labels []string, ok bool) {
	base := name
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base = strings.TrimSuffix(base, suffix)
	}
	for _, d := range metrics.Definitions {
		if d.Name == name || d.Name == base && d.Kind == metrics.Histogram && name != base {
			return d.Labels, true
		}
	}
	if labels, ok = foreignMetrics[name]; !ok {
		labels, ok = foreignMetrics[base]
	}
	return labels, ok
}

// problems returns why a selector cannot match a series.
func problems(s *parser.VectorSelector, jobs []string) (list []string) {
	known, ok := exported(s.Name)
	if !ok {
		return []string{s.Name + " is no metric of metrics.Definitions and none of foreignMetrics"}
	}
	for _, m := range s.LabelMatchers {
		if m.Name == model.MetricNameLabel {
			continue
		}
		if !slices.Contains(slices.Concat(known, targetLabels), m.Name) {
			list = append(list, fmt.Sprintf("%s does not have the label %s", s.Name, m.Name))
		}
		if values := labelValues(m.Name, jobs); values != nil && !slices.ContainsFunc(values, m.Matches) {
			list = append(list, fmt.Sprintf("%s matches none of %q", m, values))
		}
	}
	return list
}

// The check of selectors is only worth something if it rejects wrong ones.
func TestProblems_OfWrongSelectors(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]bool{
		`up{job="apikey-verifier"}`:                                    true,
		`rate(apikey_verifier_check_duration_seconds_bucket[5m])`:      true,
		`apikey_manager_key_ready_status{condition="True"}`:            true,
		`up{job="apikey-verifiers"}`:                                   false,
		`apikey_verifier_check_total`:                                  false,
		`apikey_verifier_checks_total{account="acme"}`:                 false,
		`apikey_verifier_checks_total{code="WRONG"}`:                   false,
		`apikey_verifier_synced_count`:                                 false,
		`sum(apikey_manager_verifier_replicas{reached="no"}) or up`:    false,
		`apikey_manager_key_ready_status{condition="True", code="OK"}`: false,
	} {
		var found []string
		for _, s := range selectors(t, "the query", query) {
			found = append(found, problems(s, []string{"apikey-manager-metrics", "apikey-verifier"})...)
		}
		if (len(found) == 0) != want {
			t.Errorf("the problems of %s are %q", query, found)
		}
	}
}
