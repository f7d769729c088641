// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/apikey-manager/apikey-manager/internal/version"
)

var (
	managerBuildInfo = Definition{
		"apikey_manager_build_info", Gauge,
		"Always 1. The labels are the version of the manager, its commit, and the version of Go that built it.",
		[]string{"version", "commit", "goversion"},
	}
	verifierBuildInfo = Definition{
		"apikey_verifier_build_info", Gauge,
		"Always 1. The labels are the version of the verifier, its commit, and the version of Go that built it.",
		[]string{"version", "commit", "goversion"},
	}
)

// RegisterManagerBuildInfo registers the metric with the build of the manager.
func RegisterManagerBuildInfo(registerer prometheus.Registerer, build version.Info) error {
	return registerBuildInfo(registerer, managerBuildInfo, build)
}

// RegisterVerifierBuildInfo registers the metric with the build of the verifier.
func RegisterVerifierBuildInfo(registerer prometheus.Registerer, build version.Info) error {
	return registerBuildInfo(registerer, verifierBuildInfo, build)
}

func registerBuildInfo(registerer prometheus.Registerer, d Definition, build version.Info) error {
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: d.Name, Help: d.Help}, d.Labels)
	gauge.WithLabelValues(build.Version, build.Commit, build.GoVersion).Set(1)
	return registerer.Register(gauge)
}
