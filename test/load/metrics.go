// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Names of the metrics of the API server, controller-runtime and the Go runtime.
const (
	metricRequests    = "apiserver_request_total"
	metricLongRunning = "apiserver_longrunning_requests"
	metricDepth       = "workqueue_depth"
	metricActive      = "controller_runtime_active_workers"
	metricReconciles  = "controller_runtime_reconcile_total"
	metricHeapLive    = "go_gc_heap_live_bytes" // what the last garbage collection found in use
	metricGCs         = "go_gc_cycles_total_gc_cycles_total"
)

var wanted = map[string]bool{
	metricRequests: true, metricLongRunning: true, metricDepth: true, metricActive: true, metricReconciles: true,
	metricHeapLive: true, metricGCs: true,
}

// sample is one line of the Prometheus text format.
type sample struct {
	name   string
	labels map[string]string
	value  float64
}

// sum returns the sum of the samples with a name and, unless it is empty, a label.
func sum(metrics []sample, name, label, value string) float64 {
	total := 0.0
	for _, s := range metrics {
		if s.name == name && (label == "" || s.labels[label] == value) {
			total += s.value
		}
	}
	return total
}

// parseMetrics reads the wanted lines of the Prometheus text format.
func parseMetrics(r io.Reader) ([]sample, error) {
	var all []sample
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		end := strings.IndexAny(line, "{ ")
		if end < 0 || !wanted[line[:end]] {
			continue
		}
		s, err := parseSample(line, end)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, lines.Err()
}

// parseSample reads a line whose name ends at end: name{label="value",...} number.
func parseSample(line string, end int) (sample, error) {
	s := sample{name: line[:end], labels: map[string]string{}}
	rest := strings.TrimPrefix(line[end:], "{")
	for !strings.HasPrefix(rest, " ") && !strings.HasPrefix(rest, "}") {
		name, quoted, ok := strings.Cut(rest, "=")
		value, err := strconv.QuotedPrefix(quoted)
		if !ok || err != nil {
			return s, fmt.Errorf("not a metric: %s", line)
		}
		rest = strings.TrimPrefix(quoted[len(value):], ",")
		if s.labels[name], err = strconv.Unquote(value); err != nil {
			return s, fmt.Errorf("not a metric: %s", line)
		}
	}
	number, _, _ := strings.Cut(strings.TrimLeft(rest, "} "), " ")
	var err error
	if s.value, err = strconv.ParseFloat(number, 64); err != nil {
		return s, fmt.Errorf("not a metric: %s", line)
	}
	return s, nil
}

// scrape reads the wanted metrics at a URL.
func scrape(ctx context.Context, client *http.Client, url string) ([]sample, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("scrape %s: %s", url, response.Status)
	}
	return parseMetrics(response.Body)
}
