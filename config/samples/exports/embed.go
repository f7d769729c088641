// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package exports holds the samples of KeyExports, so that kubectl apikey keyexports create writes what they say.
package exports

import "embed"

// Samples holds a file for each gateway, called <gateway>.yaml. Its first document is a KeyExport; the others are the resources of
// the gateway.
//
//go:embed *.yaml
var Samples embed.FS
