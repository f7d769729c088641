// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package monitoring_test checks the alerts and the dashboard: their queries select metrics that exist, alerts fire when they
// should, each has a runbook, and a Prometheus server that scrapes a manager and a verifier has a value for every panel.
package monitoring_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
	"github.com/apikey-manager/apikey-manager/test/tools"
)

// rule is an alert of config/prometheus/rules.yaml.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// prometheusRule is the content of config/prometheus/rules.yaml.
type prometheusRule struct {
	Spec map[string]any `json:"spec"`
}

// root returns the directory of the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := controlplane.Root()
	controlplanetest.Must(t, err)
	return dir
}

// readYAML reads a YAML file of the repository.
func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(name)))
	controlplanetest.Must(t, err)
	if err := yaml.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// alerts returns the alerts.
func alerts(t *testing.T) []rule {
	t.Helper()
	var content struct {
		Spec struct {
			Groups []struct {
				Rules []rule `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}
	readYAML(t, "config/prometheus/rules.yaml", &content)
	var list []rule
	for _, group := range content.Spec.Groups {
		list = append(list, group.Rules...)
	}
	if len(list) == 0 {
		t.Fatal("config/prometheus/rules.yaml contains no alert")
	}
	return list
}

// An alert on a series that is not exported never fires, or always.
func TestRules_SelectExistingSeries(t *testing.T) {
	t.Parallel()
	jobs := scrapedJobs(t)
	for _, r := range alerts(t) {
		for _, s := range selectors(t, r.Alert, r.Expr) {
			for _, problem := range problems(s, jobs) {
				t.Errorf("%s: %s", r.Alert, problem)
			}
		}
	}
}

// scrapedJobs returns the values of the label job: the Prometheus operator names a job after the Service that a ServiceMonitor
// selects.
func scrapedJobs(t *testing.T) []string {
	t.Helper()
	var jobs []string
	for monitorFile, serviceFile := range map[string]string{
		"config/prometheus/manager_service_monitor.yaml":  "config/manager/metrics_service.yaml",
		"config/prometheus/verifier_service_monitor.yaml": "config/verifier/service.yaml",
	} {
		var monitor struct {
			Spec struct {
				JobLabel  string `json:"jobLabel"`
				Selector  struct{ MatchLabels map[string]string }
				Endpoints []struct{ Port string }
			}
		}
		readYAML(t, monitorFile, &monitor)
		var service corev1.Service
		readYAML(t, serviceFile, &service)
		has := labels.Merge(service.Labels, labels.Set{"app.kubernetes.io/name": "apikey-manager"}) // added by kustomize
		if !labels.SelectorFromSet(monitor.Spec.Selector.MatchLabels).Matches(has) || monitor.Spec.JobLabel != "" {
			t.Errorf("%s does not select Service %s, or changes the job label", monitorFile, service.Name)
		}
		for _, endpoint := range monitor.Spec.Endpoints {
			if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == endpoint.Port }) {
				t.Errorf("%s scrapes port %s, which Service %s does not have", monitorFile, endpoint.Port, service.Name)
			}
		}
		jobs = append(jobs, service.Name)
	}
	return jobs
}

const runbooks = "https://github.com/apikey-manager/apikey-manager/blob/main/docs/runbooks/"

func TestRules_HaveRunbooks(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(root(t), "docs", "runbooks")
	index, err := os.ReadFile(filepath.Join(folder, "README.md"))
	controlplanetest.Must(t, err)
	want := []string{"README.md"}
	for _, r := range alerts(t) {
		page := r.Alert + ".md"
		want = append(want, page)
		if r.Annotations["runbook_url"] != runbooks+page {
			t.Errorf("%s has the runbook_url %q, want %q", r.Alert, r.Annotations["runbook_url"], runbooks+page)
		}
		if r.Annotations["summary"] == "" || !slices.Contains([]string{"warning", "critical"}, r.Labels["severity"]) {
			t.Errorf("%s must have a summary, and the severity warning or critical", r.Alert)
		}
		if !strings.Contains(string(index), "| ["+r.Alert+"]("+page+") | "+r.Labels["severity"]+" |") {
			t.Errorf("docs/runbooks/README.md has no row for %s with its severity", r.Alert)
		}
		text, err := os.ReadFile(filepath.Join(folder, page))
		if err != nil {
			t.Errorf("%s has no runbook: %v", r.Alert, err)
		}
		for _, heading := range []string{"# " + r.Alert, "## Meaning", "## Impact", "## Diagnosis", "## Mitigation"} {
			if !strings.Contains("\n"+string(text), "\n"+heading+"\n") {
				t.Errorf("docs/runbooks/%s has no heading %q", page, heading)
			}
		}
	}
	entries, err := os.ReadDir(folder)
	controlplanetest.Must(t, err)
	for _, entry := range entries {
		if !slices.Contains(want, entry.Name()) {
			t.Errorf("docs/runbooks/%s is the runbook of no alert", entry.Name())
		}
	}
}

// TestRules_HaveTests checks that testdata/alerts.yaml has a case in which each alert fires, and one in which it does not.
func TestRules_HaveTests(t *testing.T) {
	t.Parallel()
	var file struct {
		Tests []struct {
			Checks []struct {
				Alert    string           `json:"alertname"`
				Expected []map[string]any `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	readYAML(t, "test/monitoring/testdata/alerts.yaml", &file)
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, check := range test.Checks {
			if len(check.Expected) > 0 {
				fires[check.Alert] = true
			} else {
				quiet[check.Alert] = true
			}
		}
	}
	for _, r := range alerts(t) {
		if !fires[r.Alert] || !quiet[r.Alert] {
			t.Errorf("testdata/alerts.yaml has a case in which %s fires: %t; one in which it does not: %t; want both", r.Alert, fires[r.Alert],
				quiet[r.Alert])
		}
	}
}

func TestRules_Promtool(t *testing.T) {
	t.Parallel()
	promtool := tools.Path(t, "promtool")
	var content prometheusRule
	readYAML(t, "config/prometheus/rules.yaml", &content)
	spec, err := yaml.Marshal(content.Spec)
	controlplanetest.Must(t, err)
	tests, err := os.ReadFile(filepath.Join("testdata", "alerts.yaml"))
	controlplanetest.Must(t, err)
	dir := t.TempDir()
	controlplanetest.Must(t, cmp.Or(
		os.WriteFile(filepath.Join(dir, "rules.yaml"), spec, 0o600),
		os.WriteFile(filepath.Join(dir, "alerts.yaml"), tests, 0o600),
	))
	for _, arguments := range [][]string{
		{"check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"},
		{"test", "rules", "alerts.yaml"},
	} {
		command := exec.CommandContext(t.Context(), promtool, arguments...)
		command.Dir = dir
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, out)
		}
	}
}
