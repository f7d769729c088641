// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package tenants tests what users can do through APIKeys, Accounts and KeyExports that their own permissions do not allow:
// only what docs/access.md documents. The tests run as impersonated users on a real control plane that issues and accepts
// tokens, with the manager, its webhook and its admission policies.
package tenants
