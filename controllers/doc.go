// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package controllers is the hands of apikey-manager: the APIKey and Account reconcilers.
//
// A round is six verbs: observe, decide, perform, describe, patch, announce. Decide and describe are in internal/keys,
// and so is every rule about keys; this package reads, writes and tells.
package controllers
