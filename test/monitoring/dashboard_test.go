// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// panelQuery is a query of a panel of the dashboard.
type panelQuery struct{ panel, query string }

// variables replaces the variables of Grafana by what it inserts for all values and a short range.
var variables = strings.NewReplacer("$__rate_interval", "10s", "$account", ".*", "$protocol", ".*")

// panelQueries returns all queries of the dashboard, with its variables replaced.
func panelQueries(t *testing.T) []panelQuery {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root(t), "config", "prometheus", "dashboard.json"))
	controlplanetest.Must(t, err)
	var dashboard struct {
		Panels []struct {
			Title, Type, Description string
			Targets                  []struct{ Expr string }
		}
	}
	controlplanetest.Must(t, json.Unmarshal(data, &dashboard))
	var list []panelQuery
	titles := sets.New[string]()
	for _, p := range dashboard.Panels {
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || titles.Has(p.Title) || len(p.Targets) == 0 {
			t.Errorf("panel %q must have a title of its own, a description and a query", p.Title)
		}
		titles.Insert(p.Title)
		for _, target := range p.Targets {
			list = append(list, panelQuery{panel: p.Title, query: variables.Replace(target.Expr)})
		}
	}
	if len(list) == 0 {
		t.Fatal("the dashboard has no query")
	}
	return list
}

func TestDashboard_SelectsExistingSeries(t *testing.T) {
	t.Parallel()
	jobs := scrapedJobs(t)
	for _, q := range panelQueries(t) {
		if strings.Contains(q.query, "$") {
			t.Errorf("%s uses a variable that the test does not know: %s", q.panel, q.query)
		}
		for _, s := range selectors(t, q.panel, q.query) {
			for _, problem := range problems(s, jobs) {
				t.Errorf("%s: %s", q.panel, problem)
			}
		}
	}
}

// TestPrometheus evaluates all queries on a server that scrapes a manager and a verifier under load.
func TestPrometheus(t *testing.T) {
	e := start(t)
	e.makeLoad(t)
	t.Run("no panel is empty", func(t *testing.T) {
		for _, q := range panelQueries(t) {
			e.awaitSample(t, q.panel, q.query)
		}
	})
	t.Run("every series in an alert exists", func(t *testing.T) {
		for _, r := range alerts(t) {
			for _, s := range selectors(t, r.Alert, r.Expr) {
				e.awaitSample(t, r.Alert, (&parser.VectorSelector{Name: s.Name, LabelMatchers: s.LabelMatchers}).String())
			}
		}
	})
	t.Run("no rule fails", e.testRules)
	t.Run("metrics of other projects have these labels", e.testForeignMetrics)
}

// awaitSample waits until a query has a value other than NaN.
func (e *environment) awaitSample(t *testing.T, name, query string) {
	t.Helper()
	controlplanetest.Within(t, 30*time.Second, fmt.Sprintf("%s has a value for %s", name, query), func() error {
		values, err := e.query(t.Context(), query)
		if err != nil {
			return err
		}
		for _, v := range values {
			if v.Value[1] != "NaN" {
				return nil
			}
		}
		return fmt.Errorf("%d samples, all of them NaN", len(values))
	})
}

// testRules waits until Prometheus has evaluated all alerts, and expects no error.
func (e *environment) testRules(t *testing.T) {
	controlplanetest.Within(t, 30*time.Second, "all rules are evaluated", func() error {
		rules, err := e.rules(t.Context())
		if err != nil {
			return err
		}
		healthy := 0
		for _, r := range rules {
			if r.LastError != "" {
				t.Errorf("%s: %s", r.Name, r.LastError)
			}
			if r.Health == "ok" {
				healthy++
			}
		}
		if want := len(alerts(t)); healthy != want {
			return fmt.Errorf("%d alerts are healthy, want %d", healthy, want)
		}
		return nil
	})
}

// testForeignMetrics checks that the metrics of other projects have the labels that foreignMetrics has.
func (e *environment) testForeignMetrics(t *testing.T) {
	for name, labels := range foreignMetrics {
		values, err := e.query(t.Context(), `{__name__=~"`+name+`(_count)?"}`)
		if err == nil && len(values) == 0 {
			err = errors.New("no series")
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, label := range append(labels, targetLabels...) {
			if values[0].Metric[label] == "" {
				t.Errorf("%s does not have the label %s: %v", name, label, values[0].Metric)
			}
		}
	}
}
