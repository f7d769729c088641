// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

// config is the part of the configuration of kube-state-metrics that is used here.
type config struct {
	Kind string `json:"kind"`
	Spec struct {
		Resources []resource `json:"resources"`
	} `json:"spec"`
}

type resource struct {
	GroupVersionKind groupVersionKind    `json:"groupVersionKind"`
	MetricNamePrefix string              `json:"metricNamePrefix"`
	ResourcePlural   string              `json:"resourcePlural"`
	LabelsFromPath   map[string][]string `json:"labelsFromPath"`
	ErrorLogV        int                 `json:"errorLogV"`
	Metrics          []metric            `json:"metrics"`
}

type groupVersionKind struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
}

type metric struct {
	Name string `json:"name"`
	Help string `json:"help"`
	Each each   `json:"each"`
}

// each has the field of its type.
type each struct {
	Type     string      `json:"type"`
	Gauge    *gaugeOf    `json:"gauge,omitempty"`
	StateSet *stateSetOf `json:"stateSet,omitempty"`
}

type gaugeOf struct {
	Path           []string            `json:"path"`
	LabelsFromPath map[string][]string `json:"labelsFromPath,omitempty"`
	ValueFrom      []string            `json:"valueFrom,omitempty"`
}

type stateSetOf struct {
	Path      []string `json:"path"`
	LabelName string   `json:"labelName"`
	List      []string `json:"list"`
}
