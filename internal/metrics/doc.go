// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics is the meters of apikey-manager: the definitions of its metrics, and collectors that compute
// per-object figures when they are scraped.
package metrics
