// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package webhook contains the validating admission webhooks for APIKeys, Accounts and KeyExports. The rules themselves are
// in internal/keys and internal/export.
//
// The webhooks validate what the CRD schema cannot, because it depends on other objects: whether a key may be deleted,
// and whether it complies with the policy of its account. If a webhook cannot be called, keys are created nevertheless,
// and the reconcilers report violations in conditions; only deletions are rejected until a webhook is available again.
package webhook
