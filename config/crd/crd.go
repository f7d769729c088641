// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package crd holds the CustomResourceDefinitions of this version, so that programs can compare them with those of a cluster.
package crd

import "embed"

// Bases holds a file for each CustomResourceDefinition, below bases/.
//
//go:embed bases/*.yaml
var Bases embed.FS
