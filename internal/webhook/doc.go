// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package webhook is the guard of apikey-manager: typed validators, thin, over the rules in internal/keys.
//
// It guards what the schema can't see, because it takes another object to tell: whether a key may be deleted, and
// whether an account's policy lets it in. The reconcilers say the same of a key that came in while the guard was away;
// only deletion waits for it.
package webhook
