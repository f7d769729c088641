// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package tenants has tests that a user brings nothing about through APIKeys and Accounts that the user's own rights do not
// allow, but for what docs/access.md names. They run on a real control plane that issues and accepts tokens, with the
// manager, its webhook and its admission policies, and as impersonated users.
package tenants
