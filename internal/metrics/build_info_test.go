// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/apikey-manager/apikey-manager/internal/metrics"
	"github.com/apikey-manager/apikey-manager/internal/version"
)

func TestRegisterBuildInfo(t *testing.T) {
	t.Parallel()
	build := version.Info{Version: "v0.1.0", Commit: "c0ffee", GoVersion: "go1.26.8"}
	registry := prometheus.NewPedanticRegistry()
	if err := metrics.RegisterManagerBuildInfo(registry, build); err != nil {
		t.Fatal(err)
	}
	if err := metrics.RegisterVerifierBuildInfo(registry, build); err != nil {
		t.Fatal(err)
	}
	want := `
# HELP apikey_manager_build_info Always 1. The labels are the version of the manager, its commit, and the version of Go that built it.
# TYPE apikey_manager_build_info gauge
apikey_manager_build_info{commit="c0ffee",goversion="go1.26.8",version="v0.1.0"} 1
# HELP apikey_verifier_build_info Always 1. The labels are the version of the verifier, its commit, and the version of Go that built it.
# TYPE apikey_verifier_build_info gauge
apikey_verifier_build_info{commit="c0ffee",goversion="go1.26.8",version="v0.1.0"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
}
