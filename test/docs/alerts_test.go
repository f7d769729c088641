// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/internal/metrics"
)

// notOurMetrics lists the metrics in the alerts that are not in metrics.Definitions: those of Prometheus, client-go and
// controller-runtime.
var notOurMetrics = []string{"up", "leader_election_master_status", "workqueue_depth", "controller_runtime_reconcile_total"}

// promQL lists the PromQL keywords and functions in the alerts. Every other identifier must be a metric.
var promQL = []string{"absent", "and", "increase", "max", "or", "rate", "sum", "time"}

var (
	notNames   = regexp.MustCompile(`\{[^}]*\}|\[[^\]]*\]|\b(?:by|on) *\([^)]*\)`) // label matchers, ranges and label lists
	promQLName = regexp.MustCompile(`\b[a-zA-Z_:][\w:]*`)
	job        = regexp.MustCompile(`\bjob="([^"]*)"`)
)

// alerts returns the expressions of config/prometheus/rules.yaml by the name of the alert.
func alerts(t *testing.T, root string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "config", "prometheus", "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Spec struct {
			Groups []struct {
				Rules []struct{ Alert, Expr string }
			}
		}
	}
	if err := yaml.Unmarshal(data, &rules); err != nil {
		t.Fatal(err)
	}
	expressions := map[string]string{}
	for _, group := range rules.Spec.Groups {
		for _, rule := range group.Rules {
			expressions[rule.Alert] = rule.Expr
		}
	}
	if len(expressions) == 0 {
		t.Fatal("config/prometheus/rules.yaml contains no alert")
	}
	return expressions
}

// An alert on a metric that is not exported never fires.
func TestAlerts_UseExistingMetrics(t *testing.T) {
	t.Parallel()
	known := slices.Concat(notOurMetrics, promQL)
	for _, d := range metrics.Definitions {
		known = append(known, d.Name)
	}
	for alert, expression := range alerts(t, open(t).root) {
		for _, name := range promQLName.FindAllString(notNames.ReplaceAllString(expression, ""), -1) {
			if !slices.Contains(known, name) {
				t.Errorf("%s looks at %s, which is no metric of metrics.Definitions and none of notOurMetrics", alert, name)
			}
		}
	}
}

// The Prometheus operator names a job after its Service.
func TestAlerts_UseExistingJobs(t *testing.T) {
	t.Parallel()
	root := open(t).root
	var services []string
	for _, file := range []string{"config/manager/metrics_service.yaml", "config/verifier/service.yaml"} {
		data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		var service corev1.Service
		if err := yaml.UnmarshalStrict(data, &service); err != nil {
			t.Fatal(err)
		}
		services = append(services, service.Name)
	}
	for alert, expression := range alerts(t, root) {
		for _, match := range job.FindAllStringSubmatch(expression, -1) {
			if !slices.Contains(services, match[1]) {
				t.Errorf("%s looks at job %s, which is no Service that is scraped: %q", alert, match[1], services)
			}
		}
	}
}
