// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics defines the metrics of apikey-manager, records those of the manager and the verifier, and collects
// figures of individual objects when they are scraped.
package metrics
