// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package reminder decides which mails are sent before a key expires, and records what became of them.
//
// It is pure: the time comes in with the facts, and the mail controller sends what Decide returns.
package reminder
