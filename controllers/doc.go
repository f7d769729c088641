// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package controllers contains the reconcilers of APIKeys and Accounts.
//
// A reconciliation has six steps: observe, decide, perform, describe, patch, announce. Package internal/keys decides
// and describes, and contains all rules about keys. This package reads and writes objects, and emits events.
package controllers
